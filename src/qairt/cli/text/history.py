"""Finished runs as text: all of them, and two side by side."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Sequence
from typing import Any

from qairt.amounts import age, duration, size
from qairt.cli.console import styled, table
from qairt.engine.record.runs import Comparison, Row, compare_summaries, flat_recipe
from qairt.engine.run.history import RunRecord

_DIGITS = 8  # of a digest that is shown
_NONE = "-"
_METRICS = {"ppl": "perplexity", "sqnr_db": "SQNR, dB", "tokens_per_second": "tokens a second"}


def list_lines(runs: Sequence[tuple[str, RunRecord]]) -> list[str]:
    """A line for each, the latest last."""
    if not runs:
        return ["No run is finished here yet."]
    now = time.time()
    header = ("run", "state", "when", "took", "processor", "peak RAM", "results", "perplexity", "recipe")
    return table([_row(name, record, now) for name, record in runs], header=header, right=(3, 4, 5, 6, 7))


def compared(a: RunRecord, b: RunRecord) -> Comparison:
    """What differs between two."""
    notes = tuple(f"the recipe of run {record.id} is not known" for record in (a, b) if record.recipe is None)
    recipes = None if notes else (flat_recipe(a.recipe), flat_recipe(b.recipe))
    both = a.sizes and b.sizes
    one, other = (record.with_true_sizes() if both else record.summary for record in (a, b))
    return compare_summaries((one, other), recipes, notes)


def compare_lines(found: Comparison) -> list[str]:
    """What changed in the recipe, then what it did."""
    a, b = f"run {found.a.id}", f"run {found.b.id}"
    lines = [*found.notes]
    settings = [(row.name, _setting(row.a), _setting(row.b)) for row in found.recipe if row.changed]
    if settings:
        lines += table(settings, header=("what changed", a, b))
    elif not found.notes:
        lines.append("The recipes are the same.")
    whole = [
        *([Row("state", found.a.state, found.b.state)] if found.a.state != found.b.state else []),
        *([Row("machine", found.a.host, found.b.host)] if found.a.host != found.b.host else []),
        *([Row("reused", _reused(found.a), _reused(found.b))] if _reused(found.a) != _reused(found.b) else []),
    ]
    rows: list[tuple[str, ...]] = [(row.name, str(row.a or _NONE), str(row.b or _NONE), "") for row in whole]
    for name, field, say, least in (
        ("time", "seconds", duration, 0.0),
        ("peak RAM", "peak_ram", size, 0.0),
        ("size of results", "bytes", size, 0.0),
    ):
        rows.append(_measured(Row(name, getattr(found.a, field), getattr(found.b, field), least=least), say))
    for metric in found.metrics:
        rows.append(_measured(Row(_METRICS.get(metric.name, metric.name), metric.a, metric.b), "{:,.4g}".format))
    for title, of_stages, say in (
        ("time", found.seconds, duration),
        ("processor", found.cpu_seconds, duration),
        ("peak RAM", found.peak_ram, size),
        ("size", found.bytes, size),
    ):
        rows += [_measured(row, say, f"{row.name}: {title}") for row in of_stages if row.changed and _in_both(row)]
    return [*lines, "", *table(rows, header=("what it did", a, b, "change"), right=(1, 2))]


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


def _measured(row: Row, say: Callable[[Any], str], name: str = "") -> tuple[str, ...]:
    def text(value: Any) -> str:
        return _NONE if value is None else value if isinstance(value, str) else say(value)

    return name or row.name, text(row.a), text(row.b), _change(row, say)


def _change(row: Row, say: Callable[[Any], str]) -> str:
    difference = row.difference
    if difference is None:
        return ""
    if not difference:
        return "the same"
    times = row.b / row.a if row.a else 0.0
    share = f" ({times:,.0f} times)" if times > 10 else f" ({(times - 1) * 100:+.1f} %)" if times else ""
    sign = "+" if difference > 0 else "-"
    return styled(f"{sign}{say(abs(difference))}{share}", "bold")


def _in_both(row: Row) -> bool:
    """Whether both runs had that stage, and at least one of them knows what it took."""
    return row.a is not None and row.b is not None and any(value not in (0, "cached") for value in (row.a, row.b))


def _reused(run: Any) -> str:
    return f"{run.counts.get('cached', 0)} of {run.items}"


def _setting(value: Any) -> str:
    if value is None:
        return _NONE
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, default=str)
