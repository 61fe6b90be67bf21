"""Operator tables in Markdown."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from qairt.amounts import size
from qairt.stages.float_profile.operators import Operator, OperatorTable

TOP = 15
"""Rows per table."""


def operators_markdown(tables: Iterable[OperatorTable]) -> str:
    """The top operators of each phase by self time and by memory."""
    parts = ["# Operators\n"]
    for table in tables:
        parts += [_by_time(table), _by_memory(table)]
    return "\n".join(parts)


def _by_time(table: OperatorTable) -> str:
    shown = table.operators[:TOP]
    gpu = any(row.device_ms for row in table.operators)
    head = ["operator", "calls", "self ms", "share", "total ms", "GFLOP", *(["GPU ms"] if gpu else [])]
    lines = [
        [
            row.name,
            f"{row.calls:,}",
            f"{row.self_ms:.3f}",
            _share(row.self_ms, table.self_ms),
            f"{row.total_ms:.3f}",
            f"{row.flops / 1e9:.3f}" if row.flops else "",
            *([f"{row.device_ms:.3f}"] if gpu else []),
        ]
        for row in shown
    ]
    rest = table.operators[TOP:]
    if rest:
        lines.append(_rest(rest, table, gpu))
    return (
        f"## {table.phase}: by self time\n\n"
        f"Sum of self times {table.self_ms:.3f} ms; wall time {table.wall_ms:.3f} ms.\n\n"
        f"{_table(head, lines)}"
    )


def _rest(rest: Sequence[Operator], table: OperatorTable, gpu: bool) -> list[str]:
    spent = sum(row.self_ms for row in rest)
    flops = sum(row.flops for row in rest)
    device = sum(row.device_ms for row in rest)
    return [
        f"{len(rest)} others",
        f"{sum(row.calls for row in rest):,}",
        f"{spent:.3f}",
        _share(spent, table.self_ms),
        "",
        f"{flops / 1e9:.3f}" if flops else "",
        *([f"{device:.3f}"] if gpu else []),
    ]


def _by_memory(table: OperatorTable) -> str:
    lines = [
        [row.name, f"{row.calls:,}", size(row.memory), size(row.memory // row.calls)] for row in table.by_memory()[:TOP]
    ]
    return f"## {table.phase}: by memory allocated, net\n\n{_table(['operator', 'calls', 'total', 'per call'], lines)}"


def _share(part: float, whole: float) -> str:
    return f"{part / whole:.1%}" if whole else ""


def _table(head: Sequence[str], lines: Sequence[Sequence[str]]) -> str:
    rule = ["---", *("---:" for _ in head[1:])]
    return "".join(f"| {' | '.join(_cell(cell) for cell in line)} |\n" for line in (head, rule, *lines))


def _cell(text: str) -> str:
    return text.replace("|", "\\|").replace("\n", " ")
