"""No control character of a recipe, model, log or file name reaches the terminal from any widget."""

from __future__ import annotations

from rich.cells import cell_len
from rich.segment import Segment
from textual.color import Color
from textual.filter import LineFilter

from qairt.printable import UNSAFE


class PrintableFilter(LineFilter):
    """Replaces control characters by spaces, as many as they take up; Textual itself keeps most of them."""

    def apply(self, segments: list[Segment], background: Color) -> list[Segment]:
        return [segment if segment.text.isprintable() else _shown(segment) for segment in segments]


def _shown(segment: Segment) -> Segment:
    text, style, control = segment
    return segment if control else Segment(UNSAFE.sub(lambda found: " " * cell_len(found[0]), text), style)
