"""The profiler pane and its one-line form."""

from __future__ import annotations

import pytest
from textual.app import App, ComposeResult

from qairt.engine.record import events as ev
from qairt.engine.record.state import RunState
from qairt.tui.terminal.glyphs import Look
from qairt.tui.themes import VARIABLE_DEFAULTS
from qairt.tui.widgets.profiler import ProfilerLine, ProfilerPane, disk_line

GB = 10**9


def a_run(seconds: int = 30, gpu: bool = False) -> RunState:
    state = RunState(ram=64 * GB, cores=8, stage_starts=[(1000.0, "export"), (1010.0, "convert")])
    for second in range(seconds):
        state.samples.append(
            ev.ResourceSample(
                time=1000.0 + second,
                ram=(60 if second == 5 else 20) * GB + 700_000_000,
                cpu_percent=211.3,
                gpu_memory=3_100_000_000 if gpu else None,
                gpu_memory_total=24 * GB if gpu else None,
                gpu_percent=3.0 if gpu else None,
            )
        )
    return state


class Host(App[None]):
    CSS = "ProfilerPane { height: 1fr; }"

    def __init__(self, state: RunState, look: Look | None = None) -> None:
        super().__init__()
        self.state = state
        self.pane = ProfilerPane(look, number="3")
        self.line = ProfilerLine(look)

    def get_theme_variable_defaults(self) -> dict[str, str]:
        return VARIABLE_DEFAULTS

    def compose(self) -> ComposeResult:
        yield self.pane
        yield self.line

    def on_mount(self) -> None:
        self.pane.show(self.state)
        self.line.show(self.state)


async def test_values_against_limits() -> None:
    app = Host(a_run(gpu=True))
    async with app.run_test(size=(88, 9)) as pilot:
        await pilot.pause()
        frames = [(graph.lines[0].strip("╭─╮ "), graph.lines[-1].strip("╰─╯ ")) for graph in app.pane.graphs]
        assert frames == [
            ("3 RAM", "20.7 G / 64.0 G"),
            ("CPU", "211% / 800%"),
            ("GPU", "3% / 100%"),
            ("GPU memory", "3.1 G / 24.0 G"),
        ]
        assert app.line.line == (
            "RAM ████████ 20.7/64G  CPU ▂▂▂▂▂▂▂▂ 211/800%  GPU ▁▁▁▁▁▁▁▁ 3/100%  VRAM ▁▁▁▁▁▁▁▁ 3.1/24G"
        )


async def test_the_gpu_is_shown_only_where_there_is_one() -> None:
    app = Host(a_run())
    async with app.run_test(size=(80, 24)) as pilot:
        await pilot.pause()
        assert [graph.lines[0].strip("╭─╮ ") for graph in app.pane.graphs] == ["3 RAM", "CPU"]
        assert app.line.line.endswith("211/800%")
        assert "GPU" not in app.line.line
        app.pane.show(a_run(gpu=True))
        await pilot.pause()
        assert [graph.lines[0].strip("╭─╮ ") for graph in app.pane.graphs] == ["3 RAM", "CPU", "GPU", "GPU memory"]


async def test_the_machine_stands_behind_what_the_run_uses() -> None:
    state = a_run()
    for number, sample in enumerate(state.samples):
        state.samples[number] = sample.model_copy(update={"machine_ram": 50 * GB, "machine_cpu_percent": 640.0})
    app = Host(state, Look(graph="block"))
    async with app.run_test(size=(80, 24)) as pilot:
        await pilot.pause()
        ram, cpu = app.pane.graphs
        assert ram.lines[-1].strip("╰─╯ ") == "20.7 G, peak 60.7 G · machine 50.0 G / 64.0 G"
        gauge = ram.lines[-2].strip("│")
        assert [round(64 * gauge.count(sign) / len(gauge)) for sign in "█▒░"] == [21, 30, 14]
        assert cpu.lines[-1].strip("╰─╯ ") == "211% · machine 640% / 800%"
        full = [line[-2] for line in cpu.lines[1:-1]]
        assert full.count("█") >= 5, "the machine's use reaches four fifths of the graph"
        assert "RAM" in app.line.line
        assert "20.7/64G (machine 50.0G)" in app.line.line


async def test_before_there_are_samples_nothing_is_0() -> None:
    app = Host(RunState(cores=2))
    async with app.run_test(size=(80, 24)) as pilot:
        await pilot.pause()
        assert {graph.lines[-1].strip("╰─╯ ") for graph in app.pane.graphs} == {"n/a"}
        assert app.line.line == "RAM n/a  CPU n/a"


@pytest.mark.parametrize(
    ("size", "across", "count"),
    [
        ((88, 8), 4, 4),
        ((44, 40), 1, 4),
        ((80, 23), 2, 4),
        ((40, 8), 2, 4),
        ((40, 4), 2, 2),
        ((20, 5), 1, 1),
        ((9, 2), 1, 1),
        ((250, 69), 1, 4),
    ],
)
async def test_as_many_graphs_as_there_is_room_for(size: tuple[int, int], across: int, count: int) -> None:
    app = Host(a_run(gpu=True))
    async with app.run_test(size=(size[0], size[1] + 1)) as pilot:
        await pilot.pause()
        graphs = app.pane.graphs
        assert len(graphs) == count
        assert len({graph.region.x for graph in graphs}) == across
        assert all(app.pane.region.contains_region(graph.region) for graph in graphs)


async def test_the_whole_run_is_on_it_and_peaks_are_kept() -> None:
    app = Host(a_run(seconds=3000), Look(graph="block"))
    async with app.run_test(size=(40, 41)) as pilot:
        await pilot.pause()
        ram = app.pane.graphs[0]
        assert "3 RAM · 50 min" in ram.lines[0]
        top = ram.lines[2]
        assert top.count("█") == 1, "the scale ends at the run's own peak"
        assert not any(character in "▁▂▃▄▅▆▇" for character in top)
        assert ram.lines[-1].strip("╰─╯ ") == "20.7 G, peak 60.7 G / 64.0 G"


async def test_stages_are_marked() -> None:
    app = Host(a_run(), Look(graph="block"))
    async with app.run_test(size=(60, 41)) as pilot:
        await pilot.pause()
        cpu = app.pane.graphs[1].lines[1]
        assert "│export" in cpu
        assert cpu.index("│convert") - cpu.index("│export") == 10


async def test_ascii() -> None:
    app = Host(a_run(gpu=True), Look(ascii=True))
    async with app.run_test(size=(88, 9)) as pilot:
        await pilot.pause()
        assert "".join([app.line.line, *(line for graph in app.pane.graphs for line in graph.lines)]).isascii()


async def test_the_line_is_cut_where_there_is_no_room() -> None:
    app = Host(a_run())
    async with app.run_test(size=(24, 8)):
        assert app.line.line == "RAM 20.7/64G  CPU 211/8…"


@pytest.mark.parametrize(
    ("limit", "used", "free", "says"),
    [
        (40 * GB, 3_200_000_000, 90 * GB, "disk 3.2 G of 40.0 G"),
        (0, None, 90 * GB, ""),
        (0, None, 2_100_000_000, "disk 2.1 G free"),
        (0, None, None, ""),
    ],
)
def test_the_disk_is_told_where_it_has_a_limit_or_is_nearly_full(limit, used, free, says):
    state = RunState(status="running", disk=limit)
    state.samples.append(ev.ResourceSample(ram=1, cpu_percent=1.0, disk=used, disk_free=free))
    assert disk_line(state) == says
