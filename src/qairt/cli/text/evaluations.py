"""Evaluations as text: the scores of one, all of them, two side by side."""

from __future__ import annotations

import json
import time
from collections.abc import Sequence
from pathlib import PurePath

from qairt.amounts import age, count, duration
from qairt.cli.console import styled, table
from qairt.evaluate.record import EvaluationRecord, MetricRecord, differences
from qairt.recipe.configs import BASE

_DIGITS = 12  # shown of a digest
_MEASURED = {
    "torch": "the float model",
    "quantsim": "the encodings, simulated",
    "cpu": "the quantized graphs",
    "device": "the compiled graphs on a device",
    "ssh": "the compiled graphs on a device",
}


def score_lines(record: EvaluationRecord) -> list[str]:
    """One line per metric."""
    rows = [(title, number(metric.score), basis(metric)) for title, metric in record.metrics.items()]
    return table(rows, header=("metric", "score", "on"), right=(1,))


def took_line(index: int, record: EvaluationRecord) -> str:
    """`Evaluation 3, of the quantized graphs (cpu), 12.3 s`."""
    measured = _MEASURED.get(record.target, "the model")
    adapted = "" if record.concurrency == BASE else f" with {record.concurrency}"
    return f"Evaluation {index}, of {measured}{adapted} ({record.target}), {duration(record.seconds)}"


def list_lines(records: Sequence[EvaluationRecord]) -> list[str]:
    """One line per evaluation, the latest last."""
    if not records:
        return ["Nothing has been evaluated here yet."]
    now = time.time()
    rows = [
        (
            str(index),
            f"{age(now - record.time)} ago",
            record.target if record.concurrency == BASE else f"{record.target} {record.concurrency}",
            record.recipe_digest[:_DIGITS],
            ", ".join(f"{title} {number(metric.score)} ({basis(metric)})" for title, metric in record.metrics.items()),
        )
        for index, record in enumerate(records, start=1)
    ]
    return table(rows, header=("number", "when", "target", "recipe", "scores"), right=(0,))


def compare_lines(numbers: tuple[int, int], a: EvaluationRecord, b: EvaluationRecord) -> list[str]:
    """Scores side by side, then everything else that differs."""
    one, other = (f"evaluation {index}" for index in numbers)
    rows = [
        (
            title,
            number(a.metrics[title].score) if title in a.metrics else "-",
            number(b.metrics[title].score) if title in b.metrics else "-",
            _change(a.metrics.get(title), b.metrics.get(title)),
        )
        for title in dict.fromkeys([*a.metrics, *b.metrics])
    ]
    lines = table(rows, header=("score", one, other, "change"), right=(1, 2))
    found = differences(a, b)
    if not found:
        return [*lines, "", "Recipe, model, toolchain, target and texts are the same."]
    differing = [(each.name, value(each.a), value(each.b)) for each in found]
    return [*lines, "", *table(differing, header=("what differs", one, other))]


def number(score: float) -> str:
    """`40.28`, `0.0213`: two decimals from 10 on, else four."""
    return f"{score:,.2f}" if abs(score) >= 10 else f"{score:.4f}"


def basis(metric: MetricRecord) -> str:
    """What the score was measured on."""
    return f"{count(metric.chunks, 'chunk')} of {PurePath(metric.dataset).name}" if metric.dataset else metric.metric


def value(setting: object) -> str:
    """A value of a recipe, or a digest, as text."""
    if setting is None:
        return "-"
    text = setting if isinstance(setting, str) else json.dumps(setting)
    return text[:_DIGITS] if len(text) == 64 and text.isalnum() else text


def _change(a: MetricRecord | None, b: MetricRecord | None) -> str:
    if a is None or b is None:
        return ""
    if a.score == b.score:
        return "the same"
    relative = f" ({(b.score / a.score - 1) * 100:+.2f} %)" if a.score else ""
    better = (b.score > a.score) == b.higher_is_better
    word = styled("better", "green") if better else styled("worse", "red")
    return f"{b.score - a.score:+.4g}{relative} {word}"
