"""Metrics that lm-eval measures (the extra `eval`): its tasks, run on the model that is evaluated."""

from __future__ import annotations

from importlib.util import find_spec
from typing import TYPE_CHECKING, Annotated

from pydantic import Field

from qairt.errors import EvaluationError
from qairt.runtime.evaluate.metric import Metric, register_metric

if TYPE_CHECKING:
    from qairt.runtime.evaluate.subject import Subject


class TaskMetric(Metric):
    """A task of lm-eval: the first of its scores (`acc`, `acc_norm`, `exact_match`, …), 0 … 1."""

    num_fewshot: Annotated[int | None, Field(ge=0)] = None
    """Examples in the prompt; the task's own number when left out."""
    limit: Annotated[int | None, Field(gt=0)] = None
    """Questions of each (sub)task; all of them when left out."""
    score: str | None = None
    """Which of the task's scores, such as `acc_norm`; its first when left out."""

    @property
    def asked_task(self) -> str:
        """lm-eval's name of the task."""
        return self.name

    def check(self, subject: Subject) -> None:
        if find_spec("lm_eval") is None:
            raise self._without("which is not installed")
        try:
            from qairt.runtime.evaluate.lm_eval_model import require_task
        except ImportError as error:
            raise self._without(f"which cannot be loaded: {error}") from error
        require_task(self, subject)

    def measure(self, subject: Subject) -> float:
        from qairt.runtime.evaluate.lm_eval_model import measure_task

        return measure_task(self, subject)

    def _without(self, why: str) -> EvaluationError:
        return EvaluationError(
            f"it needs the package lm-eval, {why}",
            where=f"the metric {self.title}",
            remedy="pip install 'qairt[eval]'",
        )


@register_metric
class LmEval(TaskMetric):
    """Any task of lm-eval, by its name."""

    name = "lm_eval"

    task: str
    """As `lm_eval --tasks list` has it."""

    @property
    def asked_task(self) -> str:
        return self.task


@register_metric
class Mmlu(TaskMetric):
    """Questions of 57 fields with four answers each."""

    name = "mmlu"


@register_metric
class HellaSwag(TaskMetric):
    """Which sentence goes on from a description."""

    name = "hellaswag"


@register_metric
class ArcEasy(TaskMetric):
    """School science questions."""

    name = "arc_easy"


@register_metric
class ArcChallenge(TaskMetric):
    """School science questions that word statistics get wrong."""

    name = "arc_challenge"


@register_metric
class WinoGrande(TaskMetric):
    """Which noun a pronoun stands for."""

    name = "winogrande"


@register_metric
class Piqa(TaskMetric):
    """Which of two ways reaches an everyday goal."""

    name = "piqa"
