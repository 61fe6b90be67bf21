"""How states look: a glyph, an ASCII letter and a style role each, so that no state is told by colour alone."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from qairt.engine.record.state import ItemStatus

GraphStyle = Literal["braille", "block", "ascii"]


@dataclass(frozen=True)
class Mark:
    """How one state is shown."""

    glyph: str
    letter: str
    """The same in ASCII."""
    meaning: str


MARKS: dict[ItemStatus, Mark] = {
    "waiting": Mark("·", ".", "waits for items before it"),
    "ready": Mark("◇", "q", "could run; waits for a core or memory"),
    "running": Mark("▶", ">", "runs; percent done"),
    "quiet": Mark("▶?", ">?", "runs, but says and does nothing"),
    "done": Mark("✓", "+", "made in this run"),
    "cached": Mark("≡", "=", "reused"),
    "shared": Mark("◆", "&", "another run is making it"),
    "stale": Mark("≠", "#", "made before; will run again"),
    "warn": Mark("!", "!", "made, with a check below its threshold"),
    "failed": Mark("×", "X", "failed"),
    "blocked": Mark("-", "-", "something before it failed"),
    "cancelled": Mark("~", "~", "cancelled"),
    "interrupted": Mark("?", "?", "its run ended before it did"),
}
"""In the order of the legend. A theme colours each by its variable `$state-<status>`."""


@dataclass(frozen=True)
class Look:
    """What the terminal can show."""

    ascii: bool = False
    """Nothing but ASCII is written."""
    graph: GraphStyle = "braille"

    def mark(self, status: ItemStatus) -> str:
        return MARKS[status].letter if self.ascii else MARKS[status].glyph

    def text(self, text: str) -> str:
        """`text` as this terminal can show it."""
        return text.translate(_ASCII).encode("ascii", "replace").decode() if self.ascii else text


_ASCII = str.maketrans(
    {
        "→": "->",
        "…": "...",
        "–": "-",
        "—": "-",
        "·": ".",
        "×": "x",
        "≤": "<=",
        "≥": ">=",
        "≠": "!=",
        "≡": "=",
        "│": "|",
        "─": "-",
        "█": "#",
        "░": ".",
        "▶": ">",
        "✓": "+",
        "’": "'",
        "“": '"',
        "”": '"',
        "⏎": "enter",
        "▼": "v",
        "↑": "^",
        "↓": "v",
        "←": "<",
        "▲": "^",
        "●": "*",
        "◇": "q",
        "◆": "&",
    }
)
