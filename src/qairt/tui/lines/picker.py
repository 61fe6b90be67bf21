"""Lines of the picker. No widgets here."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from rich.cells import cell_len, set_cell_size
from textual.content import Content

from qairt.amounts import age
from qairt.engine.record.summary import RunSummary
from qairt.tui.choices import Choice, Section
from qairt.tui.lines.matrix import clock, plain
from qairt.tui.lines.runs import STATUS, cut
from qairt.tui.terminal.glyphs import Look

TITLES: dict[Section, str] = {"active": "Running now", "recipe": "Recipes", "finished": "Runs"}
_STATE, _RUN, _AGE, _TOOK, _ITEMS = 13, 5, 14, 6, 9
_WIDE = 100
"""Columns of a window in which times and items are shown."""
_MIN_NAME, _MIN_FOLDER = 12, 12


def heading(look: Look, width: int, name: int, order: str = "") -> str:
    """The line above the list; a sign marks the column that it is sorted by."""

    def title(text: str) -> str:
        return look.text(f"▼{text}") if text == order else text

    cells = [title("STATE").ljust(_STATE), title("RECIPE").ljust(name), "RUN".ljust(_RUN), title("STARTED").ljust(_AGE)]
    if width >= _WIDE:
        cells += [title("TIME").rjust(_TOOK), "ITEMS".rjust(_ITEMS)]
    return _fitted(" " + "  ".join([*cells, title("FOLDER")]), width, look)


_SORT_BY: dict[str, Callable[[Choice, float], tuple[bool, Any]]] = {
    "STATE": lambda choice, now: (choice.summary is None, choice.summary.state if choice.summary else ""),
    "RECIPE": lambda choice, now: (False, choice.name.lower()),
    "STARTED": lambda choice, now: _first(-(choice.summary.started or 0.0) if choice.summary else 0.0),
    "TIME": lambda choice, now: _first(-_seconds(choice.summary, now) if choice.summary else 0.0),
    "FOLDER": lambda choice, now: (False, str(choice.folder)),
}
ORDERS = ("", *_SORT_BY)
"""Titles of columns to sort by; empty for the order in which choices were found."""


def in_order(choices: Sequence[Choice], order: str, now: float) -> list[Choice]:
    """Sorted by a column: names from A, the latest and the longest first, and last what has no value."""
    return sorted(choices, key=lambda choice: _SORT_BY[order](choice, now)) if order else list(choices)


def _first(negative: float) -> tuple[bool, float]:
    """A number of which the greatest comes first, and 0 last."""
    return not negative, negative


def name_width(choices: Sequence[Choice], width: int) -> int:
    """Columns for names: as many as the longest needs, while the folder keeps its own."""
    longest = max([_MIN_NAME, *(cell_len(plain(choice.name)) for choice in choices)])
    return max(min(longest, width - _taken(width) - _MIN_FOLDER), _MIN_NAME)


def line(choice: Choice, now: float, look: Look, width: int, name: int) -> Content:
    """One choice: its state and age, what it is called, where it is."""
    run = choice.summary
    status = STATUS[run.state] if run is not None else "waiting"
    state = f"{look.mark(status)} {run.state}" if run is not None else f"{look.mark(status)} not run yet"
    number = choice.run.id if choice.run is not None else run.id if run is not None else ""
    started = f"{age(max(now - run.started, 0.0))} ago" if run is not None and run.started else ""
    cells = [_fitted(plain(choice.name), name, look), _fitted(plain(number), _RUN, look), _fitted(started, _AGE, look)]
    if width >= _WIDE:
        cells.append((clock(_seconds(run, now)) if run is not None else "").rjust(_TOOK))
        cells.append((f"{run.made}/{run.items}" if run is not None and run.items else "").rjust(_ITEMS))
    cells.append(_cut_left(look.text(_home(choice.folder)), width - _taken(width) - name, look))
    return Content.assemble(" ", (_fitted(state, _STATE, look), f"$state-{status}"), "  ", "  ".join(cells))


def _taken(width: int) -> int:
    """Columns that all but names and folders take."""
    return 1 + _STATE + _RUN + _AGE + 8 + (_TOOK + _ITEMS + 4 if width >= _WIDE else 0)


def _seconds(run: RunSummary, now: float) -> float:
    return now - run.started if run.state == "running" and run.started else run.seconds


def matches(choice: Choice, text: str) -> bool:
    """Whether a filter finds it: in its name, folder, run or state."""
    run = choice.summary
    words = [choice.name, str(choice.folder), choice.run.id if choice.run else "", run.state if run else ""]
    return text.lower() in " ".join(words).lower()


def _home(folder: Path) -> str:
    """A folder, with `~` for the user's own."""
    home = Path.home()
    return plain(f"~/{folder.relative_to(home)}" if folder.is_relative_to(home) and folder != home else str(folder))


def _fitted(text: str, width: int, look: Look) -> str:
    """`text` in exactly `width` columns."""
    return set_cell_size(cut(look.text(text), width, look), width)


def _cut_left(text: str, width: int, look: Look) -> str:
    """The end of a path, which tells it from others; an ellipsis marks what is cut."""
    if cell_len(text) <= width:
        return text
    dots = look.text("…")
    while text and cell_len(text) > width - len(dots):
        text = text[1:]
    return dots + text
