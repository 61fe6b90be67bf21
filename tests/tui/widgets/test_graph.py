"""Graphs and the bar: scale, marks, what is not known, what is painted."""

from __future__ import annotations

from unittest.mock import patch

import pytest
from rich.cells import cell_len
from textual.app import App, ComposeResult

from qairt.engine.record.progress import Progress
from qairt.tui.terminal.glyphs import GraphStyle, Look
from qairt.tui.themes import VARIABLE_DEFAULTS
from qairt.tui.widgets.graph import ResourceGraph
from qairt.tui.widgets.overall import OverallBar
from qairt.tui.widgets.plot import area, sparkline

HALF = Progress(done=0.5)


class Host(App[None]):
    def __init__(self, look: Look | None = None) -> None:
        super().__init__()
        self.graph = ResourceGraph("3 RAM", "ram", lambda value: f"{value:.0f} G", look)
        self.bar = OverallBar(look)

    def get_theme_variable_defaults(self) -> dict[str, str]:
        return VARIABLE_DEFAULTS

    def compose(self) -> ComposeResult:
        yield self.bar
        yield self.graph


def test_the_scale_is_fixed_and_the_newest_is_at_the_right() -> None:
    assert area([0.5, 1.0], 1.0, 2, 2, "block") == [" █", "██"]
    assert area([8, 8], 64, 4, 1, "block") == ["  ▁▁"], "not scaled to the values there are"
    assert area([64, 99], 64, 2, 1, "block") == ["██"], "what is above the limit fills the column"
    assert area([0.0, None, 0.0], 1, 3, 1, "block") == ["▁ ▁"], "zero is drawn; unknown is not"
    assert area([1, 2, 3, 4, 5], 5, 3, 1, "ascii") == ["::#"]


@pytest.mark.parametrize(("value", "character"), [(0.25, "⣀"), (0.5, "⣤"), (0.75, "⣶"), (1.0, "⣿")])
def test_braille(value: float, character: str) -> None:
    assert area([value, value], 1.0, 1, 1, "braille") == [character]
    upper, lower = area([1.0, 0.1], 1.0, 1, 2, "braille")
    assert (upper, lower) == ("⡇", "⣇")


def test_sparklines() -> None:
    assert sparkline([0, 50, None, 100], 100, 6, "block") == "  ▁▄ █"
    assert sparkline([0, 100], 100, 2, "ascii") == "_#"
    assert sparkline([1], 0, 2, "block") == " ▁"


async def test_the_frame_says_what_and_how_much() -> None:
    app = Host()
    async with app.run_test(size=(40, 9)) as pilot:
        app.graph.show([None, 20.7, 32], 64)
        lines = app.graph.lines
        assert lines[0].startswith("╭─ 3 RAM ──")
        assert lines[-1].endswith("── 32 G / 64 G ─╯")
        assert {cell_len(line) for line in lines} == {40}
        app.graph.show([None, None], 64)
        assert "n/a" in "".join(app.graph.lines[1:-1])
        assert app.graph.lines[-1].endswith("── n/a ─╯")
        assert "0" not in "".join(app.graph.lines), "what is not known is not 0"
        app.graph.show([1, 2], None)
        assert app.graph.lines[-1].endswith("── 2 G ─╯")
        await pilot.pause()


async def test_stages_are_marked_where_they_began() -> None:
    app = Host(Look(graph="block"))
    async with app.run_test(size=(40, 9)):
        values = [1.0] * 30
        app.graph.show(values, 64, [(0, "convert"), (10, "a_name_without_room_for_it_here"), (29, "x\x1b[1m")])
        top = app.graph.lines[1]
        assert top == "│" + " " * 8 + "│convert  │a_name_without_ro…││"
        assert app.graph.lines[-2] == "│" + " " * 8 + "▁" * 30 + "│", "the area is not hidden by marks"
        app.graph.show([64.0] * 30, 64, [(10, "convert")])
        assert "│convert" in app.graph.lines[1], "the area leaves the names a line"


async def test_close_to_the_limit_looks_different() -> None:
    app = Host(Look(graph="block"))
    async with app.run_test(size=(20, 6)):
        app.graph.show([10.0, 63.0], 64)
        bold = [segment.text for segment in app.graph.render_line(2) if segment.style and segment.style.bold]
        assert [text.strip() for text in bold] == ["█"]


async def test_only_lines_that_changed_are_painted() -> None:
    app = Host(Look(graph="block"))
    async with app.run_test(size=(40, 11)) as pilot:
        app.graph.show([10.0] * 50, 64)
        await pilot.pause()
        with patch.object(app.graph, "refresh") as refresh:
            app.graph.show([10.0] * 50, 64)
            refresh.assert_not_called()
            app.graph.show([10.0] * 49 + [12.0], 64)
        painted = [region.y for call in refresh.call_args_list for region in call.args]
        assert painted == [7, 9], "the line that grew, and the frame with the amount"


@pytest.mark.parametrize("style", ["braille", "block", "ascii"])
@pytest.mark.parametrize("size", [(80, 24), (3, 3), (4, 4), (20, 5), (250, 70)])
async def test_every_size(style: GraphStyle, size: tuple[int, int]) -> None:
    app = Host(Look(ascii=style == "ascii", graph=style))
    async with app.run_test(size=size):
        app.graph.show([float(each % 64) for each in range(600)], 64, [(590, "convert"), (3, "early")])
        app.bar.show(HALF, "38/61 items · about 1.1 h (0.8–1.5) left")
        assert {cell_len(line) for line in app.graph.lines} <= {app.graph.size.width}
        assert app.graph.render_line(0).cell_length == app.graph.size.width
        assert app.bar.render_line(0).cell_length == app.bar.size.width
        if style == "ascii":
            assert "".join([*app.graph.lines, app.bar.line]).isascii()


async def test_the_bar_is_as_long_as_there_is_room_and_goes_first() -> None:
    app = Host()
    text = "38/61 items · 2 cached · about 1.1 h (0.8–1.5) left"
    async with app.run_test(size=(80, 5)) as pilot:
        app.bar.show(HALF, text)
        assert app.bar.line == " " + "█" * 13 + "░" * 13 + f" {text} "
        with patch.object(app.bar, "refresh") as refresh:
            app.bar.show(Progress(done=0.501), text)
            refresh.assert_not_called()
            app.bar.show(Progress(done=1.0), text)
            refresh.assert_called_once()
        assert app.bar.line.count("█") == 26
        await pilot.resize_terminal(30, 5)
        await pilot.pause()
        assert app.bar.line == " 38/61 items · 2 cached · abo…"


@pytest.mark.parametrize(
    ("progress", "glyphs", "letters"),
    [
        (Progress(), "░" * 20, "." * 20),
        (Progress(0.25, 0.25, 0.1), "▓▓▓▓▓█████▒▒░░░░░░░░", "=====#####++........"),
        (Progress(0.25, 0.25, 0.0, 0.3, 0.2), "▓▓▓▓▓█████××××××■■■■", "=====#####xxxxxxcccc"),
        (Progress(done=0.9999), "█" * 19 + "░", "#" * 19 + "."),
        (Progress(done=0.5, lost=0.001), "██████████×░░░░░░░░░", "##########x........."),
        (Progress(cached=0.4, done=0.6), "▓" * 8 + "█" * 12, "=" * 8 + "#" * 12),
    ],
)
async def test_the_bar_tells_what_is_cached_made_running_lost_and_cancelled(progress, glyphs, letters) -> None:
    app = Host()
    async with app.run_test(size=(24, 5)):
        app.bar.show(progress, "x")
        assert app.bar.line == f" {glyphs} x "
        app.bar.look = Look(ascii=True)
        assert app.bar.line == f" {letters} x "
