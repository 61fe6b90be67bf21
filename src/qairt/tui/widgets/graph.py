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

from qairt.tui.terminal.glyphs import GraphStyle, Look
from qairt.tui.widgets.graph_marks import SIDE, Part, columns_of, gauge, name_line
from qairt.tui.widgets.matrix_columns import fitted
from qairt.tui.widgets.plot import Value, area, newest, points_in

_NEAR_LIMIT = 0.9
_LEAST_AREA = 2
"""Lines of the area that names and gauge leave."""
_FRAMES = {False: ("╭", "─", "╮", "│", "╰", "╯"), True: ("+", "-", "+", "|", "+", "+")}
"""Corner, edge, corner, side, bottom corners. The side also marks the start of a stage."""


class ResourceGraph(Widget):
    """An area of values, newest at the right, on a scale from 0 to its limit or to another value.

    The frame has the resource's name at the top and `value / limit` at the bottom. A vertical line marks the start of a
    stage, with its name above the area. What the whole machine uses stands behind the area, or on a gauge below it.
    Without values it shows `n/a`. Only changed lines are repainted.
    """

    COMPONENT_CLASSES: ClassVar[set[str]] = {
        "graph--frame",
        "graph--title",
        "graph--ram",
        "graph--cpu",
        "graph--gpu",
        "graph--limit",
        "graph--mark",
        "graph--others",
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
    ResourceGraph > .graph--others { color: $text-disabled; }
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
        self._scale: float | None = None
        self._behind: Sequence[Value] = ()
        self._machine: Value = None
        self._has_gauge = False
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
        scale: float | None = None,
        behind: Sequence[Value] = (),
        machine: Value = None,
        gauge: bool = False,
        latest: Value = None,
        title: str | None = None,
    ) -> None:
        """Show values, the last one the newest; None is one that is not known.

        Args:
            values: in the unit of `limit`.
            limit: the most there can be; None if that is unknown.
            scale: the top of the scale, if it is not the limit.
            behind: values of the whole machine, drawn behind.
            machine: what the whole machine uses now.
            gauge: draw that against the limit on a line of its own.
            marks: index into `values` and name of what began there.
            latest: the value in the frame, if it is not the last of `values`.
            title: instead of the one it has.
        """
        self._values, self._limit, self._marks = values, limit, marks
        self._scale, self._behind, self._machine, self._has_gauge = scale, behind, machine, gauge
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
        amount = self._amount(width - 5)
        below = fitted(f" {amount} ", min(cell_len(amount) + 2, width - 3), self._look)
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

    def _amount(self, room: int) -> str:
        """`4.2 G, peak 4.4 G · machine 9.1 of 16.0 G`, or as much of it as fits."""
        if self._latest is None:
            return "n/a"
        now = self._format(self._latest)
        if self._limit is None:
            return now
        limit = self._format(self._limit)
        forms = [f"{now} / {limit}"]
        if self._has_gauge and self._scale is not None:
            forms.insert(0, f"{now}, peak {self._format(self._scale)} / {limit}")
        if self._machine is not None:
            forms.insert(0, f"{now} · machine {self._format(self._machine)} / {limit}")
        if self._machine is not None and self._has_gauge and self._scale is not None:
            peak = self._format(self._scale)
            forms.insert(0, f"{now}, peak {peak} · machine {self._format(self._machine)} / {limit}")
        return next((form for form in forms if cell_len(form) <= room), forms[-1])

    def _body(self, width: int, height: int) -> list[list[Part]]:
        known = [value for value in self._values if value is not None]
        if not known:
            middle = (height - 1) // 2
            return [[(("n/a" if y == middle else "").center(width)[:width], "graph--mark")] for y in range(height)]
        scale = self._scale or self._limit or max(known)
        each = points_in(1, self._style)
        columns = columns_of(self._marks, len(self._values), width, each)
        lines: list[list[Part]] = []
        if columns and height > _LEAST_AREA:
            lines.append([(name_line(columns, width, self._look), "graph--mark")])
        below: list[list[Part]] = []
        if self._has_gauge and self._limit and self._latest is not None and height - len(lines) > _LEAST_AREA:
            below.append(gauge(self._latest, self._machine, self._limit, width, self._role, self._look))
        left = height - len(lines) - len(below)
        side = SIDE[self._look.ascii]
        over = "".join(side if column in columns else " " for column in range(width))
        filled = area(self._values, scale, width, left, self._style)
        behind = area(self._behind, scale, width, left, self._style) if self._behind else [" " * width] * left
        near = self._near_limit(self._limit or scale, width)
        lines += [_parts(line, back, over, near, self._role) for line, back in zip(filled, behind, strict=True)]
        return lines + below

    def _near_limit(self, limit: float, width: int) -> list[bool]:
        """By column: whether a value is close to the limit."""
        each = points_in(1, self._style)
        points = width * each
        values = newest(self._values, points)
        return [
            any(value is not None and value >= _NEAR_LIMIT * limit > 0 for value in values[at : at + each])
            for at in range(0, points, each)
        ]


def _parts(line: str, behind: str, over: str, near: list[bool], role: str) -> list[Part]:
    """One line of the area; where it is empty, what is behind it, and then the marks."""
    parts: list[Part] = []
    for filled, back, mark, hot in zip(line, behind, over, near, strict=True):
        if filled != " ":
            character, look = filled, "graph--limit" if hot else role
        else:
            character, look = (back, "graph--others") if back != " " else (mark, "graph--mark")
        if parts and parts[-1][1] == look:
            parts[-1] = (parts[-1][0] + character, look)
        else:
            parts.append((character, look))
    return parts
