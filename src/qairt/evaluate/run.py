"""All metrics of an evaluation on one model: what measures each kind, and what is recorded of it."""

from __future__ import annotations

from collections.abc import Sequence
from importlib.util import find_spec
from typing import TypeGuard

from qairt.errors import EvaluationError
from qairt.evaluate.metric import MeasuresItself, Metric, TextMetric, plain_arguments
from qairt.evaluate.record import MetricRecord
from qairt.evaluate.subject import Subject
from qairt.evaluate.task_metric import TaskMetric
from qairt.evaluate.texts import chunks_of, key_of, text_of


def evaluate(metrics: Sequence[Metric], subject: Subject) -> dict[str, MetricRecord]:
    """Measure all metrics; returns `{display name: record}` in their order.

    Metrics of one text are measured together, in one pass over it. All that can be checked beforehand is checked
    before the first begins. What an earlier evaluation measured, also one that was killed, is not measured again.

    Raises:
        QairtError: a metric cannot be measured; says why and what to do.
    """
    for metric in metrics:
        check(metric, subject)
    scores: dict[str, float] = {}
    for metric in metrics:
        if metric.title in scores:
            continue
        if _is_measured_with_others(metric):
            from qairt.evaluate.text_run import measure_text

            group = [each for each in metrics if _is_measured_with_others(each) and key_of(each) == key_of(metric)]
            scores |= dict(zip([each.title for each in group], measure_text(group, subject), strict=True))
        else:
            scores[metric.title] = _measure(metric, subject)
    return {metric.title: _record(metric, scores[metric.title], subject) for metric in metrics}


def check(metric: Metric, subject: Subject) -> None:
    """Check what can be known before work starts.

    Raises:
        QairtError: the metric cannot be measured.
    """
    metric.check(subject)
    if isinstance(metric, TextMetric):
        chunks_of(metric, subject)
    if isinstance(metric, MeasuresItself | TextMetric):
        return
    if not isinstance(metric, TaskMetric):
        raise EvaluationError(
            "it has no method measure",
            where=f"the metric {metric.title}",
            remedy="define measure(self, subject), or derive it from TextMetric",
        )
    _require_lm_eval(metric)
    from qairt.evaluate.lm_eval_model import require_task

    require_task(metric, subject)


def _measure(metric: Metric, subject: Subject) -> float:
    """The score of a metric that is measured alone."""
    if isinstance(metric, MeasuresItself):
        return metric.measure(subject)
    assert isinstance(metric, TaskMetric)  # by `check`
    from qairt.evaluate.lm_eval_model import measure_task

    return measure_task(metric, subject)


def _is_measured_with_others(metric: Metric) -> TypeGuard[TextMetric]:
    """Whether one pass over its text measures it together with the text's other metrics."""
    return isinstance(metric, TextMetric) and not isinstance(metric, MeasuresItself)


def _require_lm_eval(metric: TaskMetric) -> None:
    """
    Raises:
        EvaluationError: lm-eval is not installed or cannot be loaded.
    """
    if find_spec("lm_eval") is None:
        raise _without_lm_eval(metric, "which is not installed")
    try:
        import qairt.evaluate.lm_eval_model  # noqa: F401 - only whether it loads
    except ImportError as error:
        raise _without_lm_eval(metric, f"which cannot be loaded: {error}") from error


def _without_lm_eval(metric: TaskMetric, why: str) -> EvaluationError:
    return EvaluationError(
        f"it needs the package lm-eval, {why}", where=f"the metric {metric.title}", remedy="pip install 'qairt[eval]'"
    )


def _record(metric: Metric, score: float, subject: Subject) -> MetricRecord:
    record = MetricRecord(
        metric=metric.name,
        arguments=plain_arguments(metric),
        score=score,
        higher_is_better=metric.higher_is_better,
    )
    if isinstance(metric, TextMetric):
        text = text_of(metric, subject)
        record.dataset, record.dataset_digest = text.name, text.digest
        record.chunks = len(chunks_of(metric, subject))
    return record
