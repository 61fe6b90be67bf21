"""Metrics that lm-eval measures (the extra `eval`): its tasks, run on the model that is evaluated."""

from __future__ import annotations

from qairt.evaluate.metric import register_metric
from qairt.evaluate.task_metric import TaskMetric


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
