"""The base of metrics that lm-eval measures."""

from __future__ import annotations

from importlib.util import find_spec
from typing import TYPE_CHECKING, Annotated

from pydantic import Field

from qairt.errors import EvaluationError
from qairt.evaluate.metric import Metric

if TYPE_CHECKING:
    from qairt.evaluate.subject import Subject


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
            from qairt.evaluate.lm_eval_model import require_task
        except ImportError as error:
            raise self._without(f"which cannot be loaded: {error}") from error
        require_task(self, subject)

    def measure(self, subject: Subject) -> float:
        from qairt.evaluate.lm_eval_model import measure_task

        return measure_task(self, subject)

    def _without(self, why: str) -> EvaluationError:
        return EvaluationError(
            f"it needs the package lm-eval, {why}",
            where=f"the metric {self.title}",
            remedy="pip install 'qairt[eval]'",
        )
