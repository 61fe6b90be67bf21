"""A framed graph of one resource against its limit."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import ClassVar

from rich.cells import cell_len
from rich.segment import Segment
from rich.style import Style
from textual.geometry import Region
from textual.message import Message
from textual.strip import Strip
from textual.widget import Widget

from qairt.tui.lines.matrix import plain
from qairt.tui.terminal.glyphs import GraphStyle, Look
from qairt.tui.widgets.matrix_columns import fitted
from qairt.tui.widgets.plot import Value, area, newest, points_in

Part = tuple[str, str]
"""Text and its component class."""

_NEAR_LIMIT = 0.9
_FRAMES = {False: ("╭", "─", "╮", "│", "╰", "╯"), True: ("+", "-", "+", "|", "+", "+")}
"""Corner, edge, corner, side, bottom corners. The side also marks the start of a stage."""


class ResourceGraph(Widget):
    """An area of values, newest at the right, on the fixed scale 0 to its limit.

    The frame has the resource's name at the top and `value / limit` at the bottom. A vertical line marks the start of a
    stage, with its name if it fits. Without values it shows `n/a`. Only changed lines are repainted.
    """

    COMPONENT_CLASSES: ClassVar[set[str]] = {
        "graph--frame",
        "graph--title",
        "graph--ram",
        "graph--cpu",
        "graph--gpu",
        "graph--limit",
        "graph--mark",
    }
    DEFAULT_CSS = """
    ResourceGraph { height: 1fr; width: 1fr; min-height: 3; }
    ResourceGraph > .graph--frame { color: $border; }
    ResourceGraph > .graph--title { color: $title; }
    ResourceGraph > .graph--ram { color: $graph-ram; }
    ResourceGraph > .graph--cpu { color: $graph-cpu; }
    ResourceGraph > .graph--gpu { color: $graph-gpu; }
    ResourceGraph > .graph--limit { color: $graph-limit; text-style: bold; }
    ResourceGraph > .graph--mark { color: $text-muted; }
    """

    class Resized(Message):
        """The number of points that fit has changed."""

    def __init__(
        self,
        title: str,
        role: str,
        format_value: Callable[[float], str],
        look: Look | None = None,
        *,
        id: str | None = None,
    ) -> None:
        """`format_value` formats values and the limit; `role` is `ram`, `cpu` or `gpu`."""
        super().__init__(id=id)
        self._title = title
        self._role = f"graph--{role}"
        self._format = format_value
        self._look = look or Look()
        self._values: Sequence[Value] = ()
        self._limit: float | None = None
        self._marks: Sequence[tuple[int, str]] = ()
        self._latest: Value = None
        self._lines: list[list[Part]] = []
        self._styles_of: dict[str, Style] = {}

    @property
    def points(self) -> int:
        """How many values fit."""
        return points_in(max(self.size.width - 2, 0), self._style)

    @property
    def lines(self) -> list[str]:
        """What is shown, as text."""
        return ["".join(text for text, _ in line) for line in self._lines]

    @property
    def look(self) -> Look:
        """How it is drawn."""
        return self._look

    @look.setter
    def look(self, look: Look) -> None:
        self._look = look
        self._draw()

    def show(
        self,
        values: Sequence[Value],
        limit: float | None,
        marks: Sequence[tuple[int, str]] = (),
        *,
        latest: Value = None,
        title: str | None = None,
    ) -> None:
        """Show values, the last one the newest; None is one that is not known.

        Args:
            values: in the unit of `limit`.
            limit: the top of the scale; None scales to the highest value.
            marks: index into `values` and name of what began there.
            latest: the value in the frame, if it is not the last of `values`.
            title: instead of the one it has.
        """
        self._values, self._limit, self._marks = values, limit, marks
        self._latest = latest if latest is not None else (values[-1] if values else None)
        self._title = self._title if title is None else title
        self._draw()

    def on_resize(self) -> None:
        self._draw()
        self.post_message(self.Resized())

    def notify_style_update(self) -> None:
        super().notify_style_update()
        self._styles_of.clear()

    def render_line(self, y: int) -> Strip:
        width = self.size.width
        if y >= len(self._lines):
            return Strip.blank(width, self._styled("graph--frame"))
        segments = [Segment(text, self._styled(role)) for text, role in self._lines[y]]
        return Strip(Segment.simplify(segments)).adjust_cell_length(width, self._styled("graph--frame"))

    @property
    def _style(self) -> GraphStyle:
        return "ascii" if self._look.ascii else self._look.graph

    def _styled(self, name: str) -> Style:
        style = self._styles_of.get(name)
        if style is None:
            style = self._styles_of[name] = self.get_component_rich_style(name)
        return style

    def _draw(self) -> None:
        width, height = self.size
        if width < 4 or height < 3:
            self._lines = []
            self.refresh()
            return
        corner, edge, corner_right, side, low, low_right = _FRAMES[self._look.ascii]
        title = fitted(f" {self._title} ", min(cell_len(self._title) + 2, width - 3), self._look)
        below = fitted(f" {self._amount()} ", min(cell_len(self._amount()) + 2, width - 3), self._look)
        frame, named = "graph--frame", "graph--title"
        lines: list[list[Part]] = [
            [(corner + edge, frame), (title, named), (edge * (width - 3 - cell_len(title)) + corner_right, frame)]
        ]
        lines += [[(side, frame), *parts, (side, frame)] for parts in self._body(width - 2, height - 2)]
        lines.append([(low + edge * (width - 3 - cell_len(below)), frame), (below, named), (edge + low_right, frame)])
        before, self._lines = self._lines, lines
        if len(before) != len(lines):
            self.refresh()
            return
        for y, (old, new) in enumerate(zip(before, lines, strict=True)):
            if old != new:
                self.refresh(Region(0, y, width, 1))

    def _amount(self) -> str:
        if self._latest is None:
            return "n/a"
        if self._limit is None:
            return self._format(self._latest)
        return f"{self._format(self._latest)} / {self._format(self._limit)}"

    def _body(self, width: int, height: int) -> list[list[Part]]:
        known = [value for value in self._values if value is not None]
        if not known:
            middle = (height - 1) // 2
            return [[(("n/a" if y == middle else "").center(width)[:width], "graph--mark")] for y in range(height)]
        limit = self._limit if self._limit is not None else max(known)
        lines = area(self._values, limit, width, height, self._style)
        near = self._near_limit(limit, width)
        overlay = self._overlay(lines)
        return [_parts(line, over, near, self._role) for line, over in zip(lines, overlay, strict=True)]

    def _near_limit(self, limit: float, width: int) -> list[bool]:
        """By column: whether a value is close to the limit."""
        each = points_in(1, self._style)
        points = width * each
        values = newest(self._values, points)
        return [
            any(value is not None and value >= _NEAR_LIMIT * limit > 0 for value in values[at : at + each])
            for at in range(0, points, each)
        ]

    def _overlay(self, lines: list[str]) -> list[str]:
        """Stage marks, visible where the area is empty: a vertical line, with a name on the top line."""
        width, each = len(lines[0]), points_in(1, self._style)
        names: dict[int, str] = {}
        for index, name in self._marks:
            column = width - 1 - (len(self._values) - 1 - index) // each
            if 0 <= column < width:
                names[column] = self._look.text(plain(name))
        side = _FRAMES[self._look.ascii][3]
        vertical = "".join(side if column in names else " " for column in range(width))
        top = vertical
        for column, name in names.items():
            end = column + 1 + len(name)
            free = top[column + 1 : end] == lines[0][column + 1 : end] == " " * len(name)
            if free and cell_len(name) == len(name):
                top = top[: column + 1] + name + top[end:]
        return [top, *[vertical] * (len(lines) - 1)]


def _parts(line: str, over: str, near: list[bool], role: str) -> list[Part]:
    """One line of the area, with marks where it is empty; neighbours of the same style form one part."""
    parts: list[Part] = []
    for filled, mark, hot in zip(line, over, near, strict=True):
        character, look = (filled, "graph--limit" if hot else role) if filled != " " else (mark, "graph--mark")
        if parts and parts[-1][1] == look:
            parts[-1] = (parts[-1][0] + character, look)
        else:
            parts.append((character, look))
    return parts
