"""Finished runs as text: all of them, and two side by side."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from qairt.amounts import age, duration, size
from qairt.cli.console import styled, table
from qairt.engine.record.runs import ComparedValue, RunComparison, compare_summaries, flat_recipe
from qairt.engine.run.history import RunRecord

if TYPE_CHECKING:
    from pydantic import JsonValue

    from qairt.engine.record.summary import RunSummary

_DIGITS = 8  # shown of a digest
_NONE = "-"
Format = Callable[[float], str]
_METRICS = {"ppl": "perplexity", "sqnr_db": "SQNR, dB", "tokens_per_second": "tokens per second"}


def list_lines(runs: Sequence[tuple[str, RunRecord]]) -> list[str]:
    """One line per run, in the order given."""
    if not runs:
        return ["No run has finished here yet."]
    now = time.time()
    header = ("run", "state", "when", "took", "CPU", "peak RAM", "results", "perplexity", "recipe")
    return table([_row(name, record, now) for name, record in runs], header=header, right=(3, 4, 5, 6, 7))


def compared(a: RunRecord, b: RunRecord) -> RunComparison:
    """The differences between two runs."""
    notes = tuple(f"the recipe of run {record.id} is not known" for record in (a, b) if record.recipe is None)
    recipes = None if notes else (flat_recipe(a.recipe), flat_recipe(b.recipe))
    both = a.sizes and b.sizes
    one, other = (record.with_true_sizes() if both else record.summary for record in (a, b))
    return compare_summaries((one, other), recipes, notes)


def compare_lines(found: RunComparison) -> list[str]:
    """The settings that changed, then the effect."""
    a, b = f"run {found.a.id}", f"run {found.b.id}"
    lines = [*found.notes]
    settings = [(row.name, _setting(row.a), _setting(row.b)) for row in found.recipe if row.changed]
    if settings:
        lines += table(settings, header=("what changed", a, b))
    elif not found.notes:
        lines.append("The recipes are the same.")
    whole = [
        *([ComparedValue("state", found.a.state, found.b.state)] if found.a.state != found.b.state else []),
        *([ComparedValue("machine", found.a.host, found.b.host)] if found.a.host != found.b.host else []),
        *(
            [ComparedValue("reused", _reused(found.a), _reused(found.b))]
            if _reused(found.a) != _reused(found.b)
            else []
        ),
    ]
    rows: list[tuple[str, ...]] = [(row.name, str(row.a or _NONE), str(row.b or _NONE), "") for row in whole]
    for name, field, format_value, least in (
        ("time", "seconds", duration, 0.0),
        ("peak RAM", "peak_ram", size, 0.0),
        ("results on disk", "bytes", size, 0.0),
    ):
        rows.append(
            _measured(ComparedValue(name, getattr(found.a, field), getattr(found.b, field), least=least), format_value)
        )
    for metric in found.metrics:
        rows.append(
            _measured(ComparedValue(_METRICS.get(metric.name, metric.name), metric.a, metric.b), "{:,.4g}".format)
        )
    for title, of_stages, format_value in (
        ("time", found.seconds, duration),
        ("CPU", found.cpu_seconds, duration),
        ("peak RAM", found.peak_ram, size),
        ("on disk", found.bytes, size),
    ):
        rows += [
            _measured(row, format_value, f"{row.name}: {title}") for row in of_stages if row.changed and _in_both(row)
        ]
    return [*lines, "", *table(rows, header=("effect", a, b, "change"), right=(1, 2))]


def _row(name: str, record: RunRecord, now: float) -> tuple[str, ...]:
    run = record.summary
    cpu = sum(stage.cpu_seconds for stage in run.stages)
    return (
        name,
        run.state,
        f"{age(now - run.started)} ago" if run.started else _NONE,
        duration(run.seconds),
        duration(cpu) if cpu else _NONE,
        size(run.peak_ram) if run.peak_ram else _NONE,
        size(record.size) if record.size else _NONE,
        f"{run.metrics['ppl']:.2f}" if "ppl" in run.metrics else _NONE,
        record.recipe_digest[:_DIGITS] or _NONE,
    )


def _measured(row: ComparedValue, format_value: Format, name: str = "") -> tuple[str, ...]:
    def text(value: JsonValue) -> str:
        return _NONE if value is None else format_value(value) if isinstance(value, (int, float)) else str(value)

    return name or row.name, text(row.a), text(row.b), _change(row, format_value)


def _change(row: ComparedValue, format_value: Format) -> str:
    difference = row.difference
    if difference is None:
        return ""
    if not difference:
        return "the same"
    times = row.ratio or 0.0
    relative = f" ({times:,.0f} times)" if times > 10 else f" ({(times - 1) * 100:+.1f} %)" if times else ""
    sign = "+" if difference > 0 else "-"
    return styled(f"{sign}{format_value(abs(difference))}{relative}", "bold")


def _in_both(row: ComparedValue) -> bool:
    """Whether both runs have that stage, and at least one of them measured it."""
    return row.a is not None and row.b is not None and any(value not in (0, "cached") for value in (row.a, row.b))


def _reused(run: RunSummary) -> str:
    return f"{run.counts.get('cached', 0)} of {run.items}"


def _setting(value: object) -> str:
    if value is None:
        return _NONE
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, default=str)
