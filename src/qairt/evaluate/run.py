"""All metrics of an evaluation on one model."""

from __future__ import annotations

from collections.abc import Sequence

from qairt.evaluate.metric import Metric, TextMetric, plain_arguments
from qairt.evaluate.record import MetricRecord
from qairt.evaluate.subject import Subject


def evaluate(metrics: Sequence[Metric], subject: Subject) -> dict[str, MetricRecord]:
    """Measure them; `{display name: what was found}` in their order.

    Those that read one text are measured together, in one pass over it. Everything that can be known to be wrong is
    said before the first begins; what was measured before, also by an evaluation that was killed, is not measured
    again.

    Raises:
        QairtError: a metric cannot be measured; says why and what to do.
    """
    for metric in metrics:
        metric.check(subject)
    scores: dict[str, float] = {}
    for together in _groups(metrics):
        text = [metric for metric in together if isinstance(metric, TextMetric)]
        if text:
            from qairt.evaluate.text_run import measure_text

            scores |= dict(zip([metric.title for metric in text], measure_text(text, subject), strict=True))
        else:
            scores |= {metric.title: metric.measure(subject) for metric in together}
    return {metric.title: _record(metric, scores[metric.title], subject) for metric in metrics}


def _groups(metrics: Sequence[Metric]) -> list[list[Metric]]:
    """Metrics of one text together, every other one alone."""
    groups: dict[object, list[Metric]] = {}
    for place, metric in enumerate(metrics):
        of_text = isinstance(metric, TextMetric) and type(metric).measure is TextMetric.measure
        text = (metric.dataset, metric.subset, metric.split, metric.column) if isinstance(metric, TextMetric) else None
        groups.setdefault(text if of_text else place, []).append(metric)
    return list(groups.values())


def _record(metric: Metric, score: float, subject: Subject) -> MetricRecord:
    record = MetricRecord(
        metric=metric.name,
        arguments=plain_arguments(metric),
        score=score,
        higher_is_better=metric.higher_is_better,
    )
    if isinstance(metric, TextMetric):
        from qairt.evaluate.texts import chunks_of, text_of

        text = text_of(metric, subject)
        record.dataset, record.dataset_digest = text.name, text.digest
        record.chunks = len(chunks_of(metric, subject))
    return record
