"""Two runs side by side, as lines and as Markdown. No Textual here."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Literal

from rich.cells import cell_len, set_cell_size

from qairt.amounts import duration, size
from qairt.engine.record.runs import ComparedValue, RunComparison
from qairt.engine.record.summary import RunSummary
from qairt.engine.record.sweeps import sweep_table
from qairt.tui.lines.runs import cut, markdown_row, plain, recipe_name
from qairt.tui.terminal.glyphs import Look

_METRICS = {"ppl": "perplexity", "sqnr_db": "SQNR, dB", "tokens_per_second": "tokens per second"}
_GAP = "  "
_INDENT = "  "
_BEFORE = 4
"""Characters kept before the first that differs."""


@dataclass(frozen=True)
class CompareLine:
    """One line of the comparison."""

    text: str
    role: Literal["title", "changed", "equal", "note"]


@dataclass(frozen=True)
class _Section:
    title: str
    rows: tuple[ComparedValue, ...]
    format: Callable[[object], str]


def compare_lines(comparison: RunComparison, look: Look, *, width: int, every: bool = False) -> list[CompareLine]:
    """Every section with its differences; with `every`, also unchanged values."""
    lines = [CompareLine(look.text(cut(plain(note), width, look)), "note") for note in comparison.notes]
    tables = [(section, [*_cells(section, every)]) for section in _sections(comparison)]
    cells = [row for _, rows in tables for _, row in rows]
    head = ["", comparison.a.id, comparison.b.id, "difference"]
    widths = _widths([[look.text(plain(cell)) for cell in row] for row in [head, *cells]], width - len(_INDENT))
    for section, rows in tables:
        if rows:
            lines.append(
                CompareLine(_line([section.title, *head[1:]], [widths[0] + len(_INDENT), *widths[1:]], look), "title")
            )
            lines += [
                CompareLine(_INDENT + _line(row, widths, look), "changed" if changed else "equal")
                for changed, row in rows
            ]
    if not cells:
        lines.append(CompareLine("The runs do not differ.", "note"))
    return lines + _sweep_lines(comparison, look, width)


def _sweep_lines(comparison: RunComparison, look: Look, width: int) -> list[CompareLine]:
    """Every combination of the sweep that both runs belong to; the two are marked as changed."""
    if comparison.sweep is None:
        return []
    titles, rows = sweep_table(comparison.sweep)
    texts = [[look.text(plain(cell)) for cell in row] for row in (titles, *rows)]
    widths = [max(map(cell_len, column)) for column in zip(*texts, strict=True)]
    lines = [_GAP.join(set_cell_size(cell, size) for cell, size in zip(row, widths, strict=True)) for row in texts]
    both = {comparison.a.id, comparison.b.id}
    roles = ["changed" if each.run in both else "equal" for each in comparison.sweep.combinations]
    return [
        CompareLine("", "equal"),
        CompareLine(f"Sweep {comparison.sweep.sweep}", "title"),
        CompareLine(_INDENT + cut(lines[0], width - len(_INDENT), look), "title"),
        *(
            CompareLine(_INDENT + cut(line, width - len(_INDENT), look), "changed" if role == "changed" else "equal")
            for line, role in zip(lines[1:], roles, strict=True)
        ),
    ]


def compare_markdown(comparison: RunComparison, *, every: bool = False) -> str:
    """The same as a Markdown document."""
    a, b = comparison.a, comparison.b
    lines = [f"# Runs {a.id} and {b.id}"]
    lines += ["", *(f"- {plain(note)}" for note in comparison.notes)] if comparison.notes else []
    for section in _sections(comparison):
        rows = [cells for _, cells in _cells(section, every)]
        if rows:
            lines += ["", f"## {section.title}", "", markdown_row(["", a.id, b.id, "difference"])]
            lines += [markdown_row(["---"] * 4), *(markdown_row([plain(cell) for cell in row]) for row in rows)]
    return "\n".join(lines) + "\n"


def _sections(comparison: RunComparison) -> list[_Section]:
    return [
        _Section("Run", tuple(_run_rows(comparison.a, comparison.b)), str),
        _Section("Recipe", comparison.recipe, _setting),
        _Section(
            "Time", (_row(comparison, "all", "seconds", 0.1, 1.0), *comparison.seconds), _number_or_text(duration)
        ),
        _Section("Memory", (_row(comparison, "all", "peak_ram", 0.05), *comparison.peak_ram), _number_or_text(size)),
        _Section("Results", (_row(comparison, "all", "bytes"), *comparison.bytes), _number_or_text(size)),
        _Section("Reused", comparison.cached, str),
        _Section(
            "Quality",
            tuple(ComparedValue(_METRICS.get(row.name, row.name), row.a, row.b) for row in comparison.metrics),
            _number_or_text("{:.4g}".format),
        ),
    ]


def _row(comparison: RunComparison, name: str, field: str, share: float = 0.0, least: float = 0.0) -> ComparedValue:
    return ComparedValue(name, getattr(comparison.a, field), getattr(comparison.b, field), share, least)


def _run_rows(a: RunSummary, b: RunSummary) -> Iterator[ComparedValue]:
    yield ComparedValue("state", a.state, b.state)
    yield ComparedValue("recipe", recipe_name(a), recipe_name(b))
    yield ComparedValue("machine", a.host or "-", b.host or "-")
    yield ComparedValue("failed", ", ".join(a.failed) or "-", ", ".join(b.failed) or "-")


def _cells(section: _Section, every: bool) -> Iterator[tuple[bool, list[str]]]:
    """Name, both values and their difference."""
    for row in section.rows:
        if row.changed or every:
            texts = ["-" if value is None else section.format(value) for value in (row.a, row.b)]
            yield row.changed, [row.name, *texts, _difference(row, section.format)]


def _difference(row: ComparedValue, format_value: Callable[[object], str]) -> str:
    difference = row.difference
    if not difference or format_value is _setting:
        return ""
    return ("+" if difference > 0 else "-") + format_value(abs(difference))


def _number_or_text(format_number: Callable[[float], str]) -> Callable[[object], str]:
    return lambda value: format_number(value) if isinstance(value, (int, float)) else str(value)


def _setting(value: object) -> str:
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, default=str)


def _widths(rows: list[list[str]], room: int) -> list[int]:
    """The width of each column; the widest shrink first when there is not enough room."""
    widths = [max(cell_len(cell) for cell in column) for column in zip(*rows, strict=True)]
    while sum(widths) + len(_GAP) * (len(widths) - 1) > room and max(widths) > 1:
        widths[widths.index(max(widths))] -= 1
    return widths


def _line(cells: list[str], widths: list[int], look: Look) -> str:
    name, a, b, difference = (look.text(plain(cell)) for cell in cells)
    left, right = _cut_apart(a, b, widths[1], widths[2], look)
    shown = [cut(name, widths[0], look), left, right, cut(difference, widths[3], look)]
    padded = [text + " " * (width - cell_len(text)) for text, width in zip(shown, widths, strict=True)]
    return _GAP.join(padded).rstrip()


def _cut_apart(a: str, b: str, a_width: int, b_width: int, look: Look) -> tuple[str, str]:
    """Two values cut to their widths. If they would look the same, what they begin with is left out in the middle, so
    that what differs stays."""
    plainly = cut(a, a_width, look), cut(b, b_width, look)
    if a == b or plainly[0] != plainly[1]:
        return plainly
    same = next((at for at, (x, y) in enumerate(zip(a, b, strict=False)) if x != y), min(len(a), len(b)))
    kept = min(min(a_width, b_width) // 3, same)
    start = max(same - _BEFORE, kept)
    dots = look.text("…")
    return cut(a[:kept] + dots + a[start:], a_width, look), cut(b[:kept] + dots + b[start:], b_width, look)
