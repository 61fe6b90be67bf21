"""Evaluations as text: the scores of one, all of them, two side by side."""

from __future__ import annotations

import json
import time
from collections.abc import Sequence
from pathlib import PurePath
from typing import Any

from qairt.amounts import age, count, duration
from qairt.cli.console import styled, table
from qairt.evaluate.record import EvaluationRecord, MetricRecord, differences

_DIGITS = 12  # of a digest that is shown
_WHAT = {
    "torch": "the float model",
    "quantsim": "the encodings, simulated",
    "cpu": "the quantized graphs",
    "device": "the compiled graphs on a device",
    "ssh": "the compiled graphs on a device",
}


def score_lines(record: EvaluationRecord) -> list[str]:
    """A line for each metric."""
    rows = [(title, number(metric.score), read(metric)) for title, metric in record.metrics.items()]
    return table(rows, header=("metric", "score", "on"), right=(1,))


def took_line(place: int, record: EvaluationRecord) -> str:
    """`Evaluation 3 of the quantized graphs (cpu), in 12.3 s`."""
    return (
        f"Evaluation {place}, of {_WHAT.get(record.target, 'the model')} ({record.target}), {duration(record.seconds)}"
    )


def list_lines(made: Sequence[EvaluationRecord]) -> list[str]:
    """All evaluations, the latest last."""
    if not made:
        return ["Nothing was evaluated here yet."]
    now = time.time()
    rows = [
        (
            str(place),
            f"{age(now - record.time)} ago",
            record.target,
            record.recipe_digest[:_DIGITS],
            ", ".join(f"{title} {number(metric.score)} ({read(metric)})" for title, metric in record.metrics.items()),
        )
        for place, record in enumerate(made, start=1)
    ]
    return table(rows, header=("number", "when", "target", "recipe", "scores"), right=(0,))


def compare_lines(numbers: tuple[int, int], a: EvaluationRecord, b: EvaluationRecord) -> list[str]:
    """Scores side by side, then everything else that differs."""
    one, other = (f"evaluation {place}" for place in numbers)
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
    said = [(found.name, value(found.a), value(found.b)) for found in found]
    return [*lines, "", *table(said, header=("what differs", one, other))]


def number(score: float) -> str:
    """`40.28`, `0.0213`: four digits, or two behind the point."""
    return f"{score:,.2f}" if abs(score) >= 10 else f"{score:.4f}"


def read(metric: MetricRecord) -> str:
    """What the score rests on."""
    return f"{count(metric.chunks, 'chunk')} of {PurePath(metric.dataset).name}" if metric.dataset else metric.metric


def value(of: Any) -> str:
    """A value of a recipe, or a digest, as text."""
    if of is None:
        return "-"
    text = of if isinstance(of, str) else json.dumps(of)
    return text[:_DIGITS] if len(text) == 64 and text.isalnum() else text


def _change(a: MetricRecord | None, b: MetricRecord | None) -> str:
    if a is None or b is None:
        return ""
    if a.score == b.score:
        return "the same"
    share = f" ({(b.score / a.score - 1) * 100:+.2f} %)" if a.score else ""
    better = (b.score > a.score) == b.higher_is_better
    word = styled("better", "green") if better else styled("worse", "red")
    return f"{b.score - a.score:+.4g}{share} {word}"
