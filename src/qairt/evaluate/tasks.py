"""The tasks of lm-eval (the extra `eval`) as metrics."""

from __future__ import annotations

from qairt.evaluate.metric import register_metric
from qairt.evaluate.task_metric import TaskMetric


@register_metric
class LmEval(TaskMetric):
    """Any task of lm-eval, by its name."""

    name = "lm_eval"

    task: str
    """As `lm_eval --tasks list` names it."""

    @property
    def task_name(self) -> str:
        return self.task


@register_metric
class Mmlu(TaskMetric):
    """Multiple-choice questions of 57 subjects."""

    name = "mmlu"


@register_metric
class HellaSwag(TaskMetric):
    """Which sentence continues a description."""

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
    """Which noun a pronoun refers to."""

    name = "winogrande"


@register_metric
class Piqa(TaskMetric):
    """Which of two ways reaches an everyday goal."""

    name = "piqa"
