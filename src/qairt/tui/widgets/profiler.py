"""Memory, CPU and GPU of a run against their limits, as graphs or on one line."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import ClassVar

from rich.segment import Segment
from textual.app import ComposeResult
from textual.strip import Strip
from textual.widget import Widget

from qairt.engine.record.events import ResourceSample
from qairt.engine.record.state import RunState
from qairt.tui.terminal.glyphs import GraphStyle, Look
from qairt.tui.widgets.graph import ResourceGraph
from qairt.tui.widgets.matrix_columns import fitted
from qairt.tui.widgets.plot import Value, sparkline

_STEPS = (1, 2, 3, 4, 5, 7, 10, 15, 20, 30, 45, 60, 90, 120, 300, 600)
"""Possible seconds per point of a graph."""
_MIN_WIDTH, _MIN_HEIGHT, _GOOD_HEIGHT = 18, 4, 7
_SPARK_MIN, _SPARK_MAX = 4, 40
_SCARCE = 5_000_000_000
"""Bytes: with less left on it, a disk is worth a look."""


def gigabytes(count: float) -> str:
    """Bytes in a short form: `20.7 G`, `540 M`."""
    if count >= 99.95e9:
        return f"{count / 1e9:.0f} G"
    return f"{count / 1e9:.1f} G" if count >= 0.9995e9 else f"{count / 1e6:.0f} M"


def percent(value: float) -> str:
    """`211%`."""
    return f"{value:.0f}%"


@dataclass(frozen=True)
class _Resource:
    """A monitored resource."""

    name: str
    title: str
    role: str
    format: Callable[[float], str]
    value: Callable[[ResourceSample], Value]
    limit: Callable[[RunState], float | None]
    of_machine: Callable[[ResourceSample], Value] = lambda each: None
    """What all programs of the machine use of it."""
    to_its_peak: bool = False
    """Scaled to the highest value; the machine's use and limit are then on a gauge."""
    of_gpu: bool = False


def _gpu_total(state: RunState) -> float | None:
    last = state.last_sample
    return last.gpu_memory_total or None if last else None


RESOURCES = (
    _Resource(
        "RAM",
        "RAM",
        "ram",
        gigabytes,
        lambda each: each.ram,
        lambda state: state.ram or None,
        lambda each: each.machine_ram,
        to_its_peak=True,
    ),
    _Resource(
        "CPU",
        "CPU",
        "cpu",
        percent,
        lambda each: each.cpu_percent,
        lambda state: 100.0 * max(state.cores, 1),
        lambda each: each.machine_cpu_percent,
    ),
    _Resource("GPU", "GPU", "gpu", percent, lambda each: each.gpu_percent, lambda state: 100.0, of_gpu=True),
    _Resource("VRAM", "GPU memory", "gpu", gigabytes, lambda each: each.gpu_memory, _gpu_total, of_gpu=True),
)
"""In order of priority."""


class ProfilerPane(Widget, can_focus=True):
    """As many graphs as fit, side by side or stacked.

    They show the whole run, as far as samples are kept. A point covers as many seconds as that takes, and is their
    maximum.
    """

    DEFAULT_CSS = """
    ProfilerPane { layout: grid; grid-size: 1; grid-gutter: 0; overflow: hidden; }
    ProfilerPane:focus ResourceGraph > .graph--frame { color: $border-focus; }
    """

    def __init__(self, look: Look | None = None, *, number: str = "", id: str | None = None) -> None:
        """`number` is the pane's number, shown before the first title."""
        super().__init__(id=id)
        self._look = look or Look()
        self._graphs = [
            ResourceGraph(_title(number, resource), resource.role, resource.format, self._look)
            for resource in RESOURCES
        ]
        self._number = number
        self._state: RunState | None = None

    def compose(self) -> ComposeResult:
        yield from self._graphs

    @property
    def look(self) -> Look:
        """How the graphs are drawn."""
        return self._look

    @look.setter
    def look(self, look: Look) -> None:
        self._look = look
        for graph in self._graphs:
            graph.look = look

    @property
    def graphs(self) -> list[ResourceGraph]:
        """The graphs that fit."""
        return [graph for graph in self._graphs if graph.display]

    def show(self, state: RunState) -> None:
        """Show the samples of a run."""
        had_gpu = self._has_gpu
        self._state = state
        if self._has_gpu != had_gpu:
            self.on_resize()
        for graph, resource in zip(self._graphs, RESOURCES, strict=True):
            if graph.display:
                self._show_one(graph, resource, state)

    @property
    def _has_gpu(self) -> bool:
        return self._state is not None and has_gpu(self._state)

    def on_resize(self) -> None:
        wanted = len(shown_resources(has_gpu=self._has_gpu))
        across, count = _arranged(self.size.width, self.size.height, wanted)
        self.styles.grid_size_columns = across
        for number, graph in enumerate(self._graphs):
            graph.display = number < count

    def on_resource_graph_resized(self) -> None:
        """Show again: the seconds per point depend on the size."""
        if self._state is not None:
            self.show(self._state)

    def _show_one(self, graph: ResourceGraph, resource: _Resource, state: RunState) -> None:
        samples = state.samples
        latest = resource.value(samples[-1]) if samples else None
        if not samples or not graph.points:
            graph.show((), resource.limit(state))
            return
        span = samples[-1].time - samples[0].time
        title = _title(self._number, resource, span)
        step = next((each for each in _STEPS if span / each < graph.points), _STEPS[-1])
        first = int(samples[0].time // step)
        places = [max(int(sample.time // step) - first, 0) for sample in samples]
        values = _highest(places, [resource.value(sample) for sample in samples])
        machine = _highest(places, [resource.of_machine(sample) for sample in samples])
        marks = [(int(time // step) - first, stage) for time, stage in state.stage_starts if time // step >= first]
        graph.show(
            values,
            resource.limit(state),
            marks,
            scale=max((each for each in values if each is not None), default=None) if resource.to_its_peak else None,
            behind=() if resource.to_its_peak else machine,
            machine=resource.of_machine(samples[-1]),
            gauge=resource.to_its_peak,
            latest=latest,
            title=title,
        )


class ProfilerLine(Widget):
    """The same on one line: `RAM ▂▃▅ 20.7/64G  CPU 180/200%  GPU n/a  VRAM n/a`."""

    COMPONENT_CLASSES: ClassVar[set[str]] = {
        "profiler-line--ram",
        "profiler-line--cpu",
        "profiler-line--gpu",
        "profiler-line--text",
    }
    DEFAULT_CSS = """
    ProfilerLine { height: 1; width: 1fr; }
    ProfilerLine > .profiler-line--ram { color: $graph-ram; }
    ProfilerLine > .profiler-line--cpu { color: $graph-cpu; }
    ProfilerLine > .profiler-line--gpu { color: $graph-gpu; }
    ProfilerLine > .profiler-line--text { color: $foreground; }
    """

    def __init__(self, look: Look | None = None, *, id: str | None = None) -> None:
        super().__init__(id=id)
        self._look = look or Look()
        self._state: RunState | None = None
        self._parts: list[tuple[str, str]] = []

    @property
    def look(self) -> Look:
        """How it is drawn."""
        return self._look

    @look.setter
    def look(self, look: Look) -> None:
        self._look = look
        self._draw()

    @property
    def line(self) -> str:
        """What is shown, as text."""
        return "".join(text for text, _ in self._parts)

    def show(self, state: RunState) -> None:
        """Show the newest samples of a run; repaints only when the line changed."""
        self._state = state
        self._draw()

    def on_resize(self) -> None:
        self._draw()

    def render_line(self, y: int) -> Strip:
        segments = [
            Segment(text, self.get_component_rich_style(f"profiler-line--{role}")) for text, role in self._parts
        ]
        return Strip(segments).adjust_cell_length(self.size.width, self.get_component_rich_style("profiler-line--text"))

    def _draw(self) -> None:
        if self._state is None:
            return
        parts = _line_parts(self._state, self.size.width, "ascii" if self._look.ascii else self._look.graph)
        shown = [(self._look.text(text), role) for text, role in parts]
        if shown != self._parts:
            self._parts = shown
            self.refresh()


def disk_line(state: RunState) -> str:
    """`disk 3.2 G of 40.0 G` where the cache directory has a limit, `disk 1.2 G free` where its disk is nearly full."""
    last = state.last_sample
    if last is None or state.status != "running":
        return ""
    if state.disk and last.disk is not None:
        return f"disk {gigabytes(last.disk)} of {gigabytes(state.disk)}"
    if last.disk_free is not None and last.disk_free < _SCARCE:
        return f"disk {gigabytes(last.disk_free)} free"
    return ""


def _title(number: str, resource: _Resource, span: float = 0.0) -> str:
    """The first title also has the pane's number and the time span of the graphs."""
    if resource is not RESOURCES[0]:
        return resource.title
    named = f"{number} {resource.title}" if number else resource.title
    return f"{named} · {span / 60:.0f} min" if span >= 60 else named


def has_gpu(state: RunState) -> bool:
    """Whether the run's machine has a GPU that can be measured."""
    last = state.last_sample
    return last is not None and not (last.gpu_memory is None and last.gpu_percent is None)


def shown_resources(*, has_gpu: bool) -> tuple[_Resource, ...]:
    """Those of the GPU only where there is one."""
    return tuple(resource for resource in RESOURCES if has_gpu or not resource.of_gpu)


def _highest(places: Sequence[int], found: Sequence[Value]) -> list[Value]:
    """The highest value at each place; None where none is known."""
    values: list[Value] = [None] * (places[-1] + 1)
    for place, value in zip(places, found, strict=True):
        if value is not None and place < len(values):
            before = values[place]
            values[place] = value if before is None else max(before, value)
    return values


def _arranged(width: int, height: int, wanted: int) -> tuple[int, int]:
    """Graphs per row, and graphs in total: as wide as possible while they are high enough, otherwise what fits."""
    across = max(min(width // _MIN_WIDTH, wanted), 1)
    for height_needed in (_GOOD_HEIGHT, _MIN_HEIGHT):
        for wide in (1, 2, 4):
            if wide <= across and height // max(wanted // wide, 1) >= height_needed:
                return wide, wanted
    return across, min(across * max(height // _MIN_HEIGHT, 1), wanted)


def _line_parts(state: RunState, width: int, style: GraphStyle) -> list[tuple[str, str]]:
    """Names and amounts; the remaining space goes to sparklines."""
    last = state.last_sample
    resources = shown_resources(has_gpu=has_gpu(state))
    known = [resource.value(last) if last else None for resource in resources]
    amounts = [_amount(resource, value, state) for resource, value in zip(resources, known, strict=True)]
    taken = [len(resource.name) + 1 + len(amount) for resource, amount in zip(resources, amounts, strict=True)]
    room = width - sum(taken) - 2 * (len(taken) - 1)
    sparklines = sum(value is not None for value in known)
    parts: list[tuple[str, str]] = []
    for resource, value, amount in zip(resources, known, amounts, strict=True):
        parts.append((("  " if parts else "") + resource.name + " ", "text"))
        spark = min(room // sparklines - 1, _SPARK_MAX) if value is not None else 0
        if spark >= _SPARK_MIN:
            newest = [resource.value(sample) for sample in list(state.samples)[-spark:]]
            peak = max((each for each in newest if each is not None), default=1.0)
            limit = peak if resource.to_its_peak else resource.limit(state) or peak
            parts += [(sparkline(newest, limit, spark, style), resource.role), (" ", "text")]
        parts.append((amount, "text"))
    if room >= 0:
        return parts
    text = "".join(text for text, _ in parts)
    return [(fitted(text, width, Look(ascii=style == "ascii")), "text")]


def _amount(resource: _Resource, value: Value, state: RunState) -> str:
    """`20.7/64G`, with the unit only once if both have the same; `20.7/64G (machine 31.0G)` if that is known."""
    if value is None:
        return "n/a"
    limit = resource.limit(state)
    used = resource.of_machine(state.samples[-1]) if resource.to_its_peak and state.samples else None
    shown = resource.format(value).replace(" ", "")
    if limit is None:
        return shown
    top = resource.format(limit).replace(" ", "").replace(".0G", "G")
    text = f"{shown[:-1]}/{top}" if shown[-1] == top[-1] else f"{shown}/{top}"
    return text if used is None else f"{text} (machine {resource.format(used).replace(' ', '')})"
