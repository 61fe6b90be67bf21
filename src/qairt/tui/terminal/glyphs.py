"""How states look: a glyph and an ASCII letter each, so that no state is distinguished by colour alone."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from qairt.engine.record.item_state import ItemStatus

GraphStyle = Literal["braille", "block", "ascii"]


@dataclass(frozen=True)
class Mark:
    """How one state is shown."""

    glyph: str
    letter: str
    """The ASCII equivalent of the glyph."""
    meaning: str


MARKS: dict[ItemStatus, Mark] = {
    "waiting": Mark("·", ".", "waiting for its inputs"),
    "ready": Mark("◇", "q", "waiting for a core or memory"),
    "running": Mark("▶", ">", "in progress, with percent done"),
    "quiet": Mark("▶?", ">?", "running, but without output or CPU use"),
    "done": Mark("✓", "+", "built in this run"),
    "cached": Mark("≡", "=", "reused from the cache"),
    "shared": Mark("◆", "&", "being built by another run"),
    "stale": Mark("≠", "#", "outdated; will be rebuilt"),
    "warn": Mark("!", "!", "built, but a check is below its threshold"),
    "failed": Mark("×", "X", "failed"),
    "blocked": Mark("-", "-", "not run because an input failed"),
    "cancelled": Mark("■", "c", "cancelled"),
    "interrupted": Mark("?", "?", "not finished when the run ended"),
    "cleared": Mark("□", "o", "its result was cleared; undo brings it back"),
    "on_demand": Mark("○", "_", "not built, as nothing needs it"),
}
"""In the order of the legend. The theme variable `$state-<status>` is the colour of each."""


def in_words(status: ItemStatus) -> str:
    """A state as a reader sees it."""
    return status.replace("_", " ")


@dataclass(frozen=True)
class Look:
    """What the terminal can show."""

    ascii: bool = False
    """Only ASCII characters are written."""
    graph: GraphStyle = "braille"

    @property
    def ellipsis(self) -> str:
        """One column that says that a text goes on."""
        return ">" if self.ascii else "…"

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
        "━": "=",
        "╍": ":",
        "█": "#",
        "░": ".",
        "▒": "+",
        "▓": "=",
        "■": "c",
        "□": "o",
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
