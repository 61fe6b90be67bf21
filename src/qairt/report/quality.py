"""Scores by `evaluate` for the artifacts of a run and for the float model."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path, PurePath

from qairt import keys
from qairt.amounts import count
from qairt.engine.record.state import RunState
from qairt.evaluate.record import EvaluationRecord, MetricRecord, records
from qairt.recipe.configs import BASE
from qairt.report.facts import Score

FLOAT = "torch"


def scores_of(state_folder: Path, state: RunState, model: str, adapters: Mapping[str, str]) -> list[Score]:
    """The latest score of each metric on each target of this run, and on the float model if it read the same text.

    Args:
        model: the recipe's, for scores of the float model when none of this run's targets was measured.
        adapters: of the run, see `adapters_of`; if empty, those that were measured last count.
    """
    evaluations = records(state_folder)
    measured = {record.concurrency: record.adapters for record in evaluations}
    adapters = {**(adapters or measured), BASE: ""}
    evaluations = [record for record in evaluations if adapters.get(record.concurrency) == record.adapters]
    of_run = [record for record in evaluations if record.target != FLOAT and _is_of(record, state)]
    digests = {record.model_digest for record in of_run}
    of_float = [
        record
        for record in evaluations
        if record.target == FLOAT
        and (record.model_digest in digests if digests else PurePath(record.model) == PurePath(model))
    ]
    found: dict[tuple[str, ...], dict[str, MetricRecord]] = {}
    for record in [*of_float, *of_run]:
        for title, metric in record.metrics.items():
            found.setdefault(_comparison_key(title, metric, record), {})[record.target] = metric
    lines = [_score(name[0], name[1], by_target) for name, by_target in found.items()]
    lines.sort(key=lambda line: line.concurrency != BASE)
    # Scores of the float model alone say nothing about this run; show them only if there are no others.
    return [line for line in lines if line.scores] or lines


def perplexity_of(evaluations: Sequence[EvaluationRecord], recipe_digest: str) -> float | None:
    """The latest perplexity of a recipe's quantized model; None when it was not measured."""
    scores = [
        metric.score
        for record in evaluations
        if record.recipe_digest == recipe_digest and record.target != FLOAT and record.concurrency == BASE
        for metric in record.metrics.values()
        if metric.metric == "perplexity"
    ]
    return scores[-1] if scores else None


def _is_of(record: EvaluationRecord, state: RunState) -> bool:
    """Whether it ran on exactly this run's items."""
    return bool(record.artifacts) and all(
        digest == keys.digest(sorted(item.key for item in state.items.values() if item.stage == stage))
        for stage, digest in record.artifacts.items()
    )


def _comparison_key(title: str, metric: MetricRecord, record: EvaluationRecord) -> tuple[str, ...]:
    """What must be equal for two scores to be comparable."""
    return (
        title,
        record.concurrency,
        metric.metric,
        metric.dataset_digest,
        str(metric.chunks),
        str(record.context_length),
    )


def _score(title: str, concurrency: str, by_target: dict[str, MetricRecord]) -> Score:
    metric = next(reversed(by_target.values()))
    float_metric = by_target.get(FLOAT)
    return Score(
        title=title.replace("_", " ") + ("" if concurrency == BASE else f", {concurrency}"),
        concurrency=concurrency,
        text=f"{count(metric.chunks, 'chunk')} of {PurePath(metric.dataset).name}" if metric.dataset else "",
        higher_is_better=metric.higher_is_better,
        float_score=float_metric.score if float_metric is not None else None,
        scores={target: found.score for target, found in by_target.items() if target != FLOAT},
    )


def change_of(score: Score, value: float) -> float | None:
    """Relative difference of a target's score from the float model's; None when that is unknown."""
    return value / score.float_score - 1 if score.float_score else None
