"""The stage matrix on a screen: keys, clicks, the cursor, what is painted."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from unittest.mock import patch

import pytest
from rich.cells import cell_len
from textual.app import App, ComposeResult
from textual.geometry import Region
from textual.strip import Strip

from qairt.engine.record import events as ev
from qairt.engine.record.state import RunState
from qairt.tui.lines.matrix import matrix_rows
from qairt.tui.terminal.glyphs import MARKS, Look
from qairt.tui.themes import VARIABLE_DEFAULTS
from qairt.tui.widgets.matrix import StageMatrix
from qairt.tui.widgets.matrix_columns import Columns, heading, row_parts

STAGES = ("split_model", "mha_to_sha_conversion", "convert", "quantize")


def entry(stage: str, coord: tuple[tuple[str, int], ...] = ()) -> ev.PlannedEntry:
    label = "-".join(f"{axis}{value}" for axis, value in coord) or "all"
    return ev.PlannedEntry(
        stage=stage, label=label, coord=coord, key="k", cached=False, reason="", seconds=60, from_history=True
    )


def a_state(splits: int = 3, ars: tuple[int, ...] = (1, 128)) -> RunState:
    parts = range(1, splits + 1)
    return RunState.of_plan(
        [
            entry("model_loading"),
            *(entry(stage, (("ar", ar), ("split", part))) for stage in STAGES for ar in ars for part in parts),
            *(entry("generate_context_binary", (("split", part),)) for part in parts),
            entry("export_bundle"),
        ]
    )


class Host(App[None]):
    def __init__(self, state: RunState, look: Look | None = None) -> None:
        super().__init__()
        self.matrix = StageMatrix(look)
        self.state = state
        self.selected: list[StageMatrix.Selected] = []
        self.opened: list[tuple[str, str]] = []

    def get_theme_variable_defaults(self) -> dict[str, str]:
        return VARIABLE_DEFAULTS

    def compose(self) -> ComposeResult:
        yield self.matrix

    def on_mount(self) -> None:
        self.matrix.show(self.state, 0)
        self.matrix.focus()

    def on_stage_matrix_selected(self, message: StageMatrix.Selected) -> None:
        self.selected.append(message)

    def on_stage_matrix_activated(self, message: StageMatrix.Activated) -> None:
        self.opened.append(message.item_key)

    @property
    def lines(self) -> list[str]:
        return [self.matrix.render_line(y).text for y in range(self.matrix.size.height)]


@contextmanager
def painted(matrix: StageMatrix) -> Iterator[list[int]]:
    """The lines of the widget that are painted meanwhile; -1 for all of it."""
    lines: list[int] = []

    def refresh(*regions: Region, **_: object) -> StageMatrix:
        lines.extend(y for region in regions for y in region.line_range)
        lines.extend([] if regions else [-1])
        return matrix

    with patch.object(matrix, "refresh", refresh):
        yield lines


def reversed_text(strip: Strip) -> str:
    return "".join(segment.text for segment in strip if segment.style and segment.style.reverse)


async def test_keys_move_the_cursor_and_say_so() -> None:
    app = Host(a_state())
    async with app.run_test(size=(80, 24)) as pilot:
        assert app.matrix.selected_item == ("model_loading", "all")
        await pilot.press("j", "l", "right")
        assert app.matrix.selected_item == ("split_model", "ar1-split3")
        await pilot.press("down", "h")
        assert app.matrix.selected_item == ("split_model", "ar128-split2")
        assert app.matrix.selected_stage == "split_model"
        assert app.matrix.selected_row_items == tuple(("split_model", f"ar128-split{part}") for part in (1, 2, 3))
        await pilot.press("G")
        assert app.matrix.selected_item == ("export_bundle", "all")
        await pilot.press("k")
        assert app.matrix.selected_item == ("generate_context_binary", "split2"), "up keeps to its column"
        await pilot.press("g", "k", "left")
        assert app.matrix.selected_item == ("model_loading", "all")
        await pilot.press("end", "home", "pagedown", "pageup", "ctrl+d", "ctrl+u")
        assert app.matrix.selected_item == ("model_loading", "all")
        last = app.selected[-1]
        assert (last.item_key, last.stage, last.row_items) == (
            ("model_loading", "all"),
            "model_loading",
            (("model_loading", "all"),),
        )


async def test_only_the_cell_under_the_cursor_is_reversed() -> None:
    app = Host(a_state())
    async with app.run_test(size=(80, 24)) as pilot:
        await pilot.press("j", "l")
        shown = [reversed_text(app.matrix.render_line(y)) for y in range(app.matrix.size.height)]
        assert shown[2].strip() == "·"
        assert not any(shown[:2] + shown[3:])


async def test_clicks_select_and_then_open() -> None:
    app = Host(a_state())
    async with app.run_test(size=(80, 24)) as pilot:
        x = app.lines[2].index("·") + 5
        await pilot.click(app.matrix, offset=(x, 2))
        assert app.matrix.selected_item == ("split_model", "ar1-split2")
        assert not app.opened
        await pilot.click(app.matrix, offset=(x, 2))
        assert app.opened == [("split_model", "ar1-split2")]
        await pilot.click(app.matrix, offset=(2, 3))
        assert app.matrix.selected_item == ("split_model", "ar128-split2"), "a name selects in its row"
        await pilot.click(app.matrix, offset=(2, 0))
        await pilot.click(app.matrix, offset=(2, 22))
        assert app.matrix.selected_item == ("split_model", "ar128-split2")


async def test_only_what_changed_is_painted() -> None:
    app = Host(a_state())
    async with app.run_test(size=(80, 24)) as pilot:
        await pilot.pause()
        with painted(app.matrix) as lines:
            app.matrix.show(app.state, 5)
            assert lines == []
            app.state.items["convert", "ar1-split2"].status = "done"
            app.matrix.show(app.state, 5)
            assert lines == [6]
            lines.clear()
            app.matrix.action_move(1, 0)
            assert set(lines) == {1, 2}
        assert app.lines[6].startswith("convert")


async def test_the_cursor_stays_on_its_item_when_rows_come_and_go() -> None:
    app = Host(a_state())
    async with app.run_test(size=(80, 24)) as pilot:
        assert app.matrix.select(("quantize", "ar128-split2"))
        app.matrix.filter = "QUANT"
        assert [line.split()[0] for line in app.lines[1:3]] == ["quantize", "quantize"]
        assert not app.lines[3].strip()
        assert app.matrix.selected_item == ("quantize", "ar128-split2")
        app.matrix.filter = ""
        assert app.matrix.selected_item == ("quantize", "ar128-split2")
        app.matrix.filter = "no such"
        await pilot.pause()
        assert "No stage" in app.lines[1]
        assert app.matrix.selected_item is None
        await pilot.press("j", "G", "pagedown", "l")
        app.matrix.filter = ""
        await pilot.pause()
        assert app.matrix.selected_item is not None
        app.state = a_state(splits=2)
        app.matrix.select(("quantize", "ar128-split2"))
        app.matrix.show(app.state, 0)
        assert app.matrix.selected_item == ("quantize", "ar128-split2")
        assert not app.matrix.select(("quantize", "ar128-split3"))


async def test_a_failure_comes_into_view_once() -> None:
    app = Host(a_state(ars=(1, 2, 4, 8)))
    async with app.run_test(size=(80, 8)) as pilot:
        app.state.items["quantize", "ar8-split2"].status = "failed"
        app.matrix.show(app.state, 0)
        await pilot.pause()
        assert app.matrix.selected_item == ("quantize", "ar8-split2"), "no key was pressed: the cursor goes there"
        assert any("×" in line for line in app.lines)
        await pilot.press("g")
        app.matrix.show(app.state, 1)
        await pilot.pause()
        assert app.matrix.scroll_offset.y == 0, "once is enough"
        app.state.items["quantize", "ar4-split1"].status = "failed"
        app.matrix.show(app.state, 1)
        await pilot.pause()
        assert any("×" in line for line in app.lines)
        assert app.matrix.selected_item == ("model_loading", "all"), "the cursor is the user's now"


@pytest.mark.parametrize("size", [(80, 24), (120, 36), (200, 50), (40, 10), (20, 5), (5, 3), (250, 70)])
@pytest.mark.parametrize("splits", [1, 8, 16, 24])
async def test_every_line_fits_at_every_size(size: tuple[int, int], splits: int) -> None:
    app = Host(a_state(splits=splits))
    async with app.run_test(size=size) as pilot:
        app.matrix.select(("split_model", f"ar1-split{splits}"))
        await pilot.pause()
        width = app.matrix.scrollable_content_region.width
        assert {cell_len(line) for line in app.lines} == {width}
        assert app.matrix.selected_item == ("split_model", f"ar1-split{splits}")
        assert width < 20 or any(reversed_text(app.matrix.render_line(y)) for y in range(size[1]))


@pytest.mark.parametrize(("splits", "cell", "shown"), [(3, 5, 3), (8, 4, 8), (16, 2, 16), (24, 2, 19)])
def test_columns_get_narrower_and_then_scroll(splits: int, cell: int, shown: int) -> None:
    columns = Columns.fit(matrix_rows(a_state(splits=splits), 0), 80)
    assert (columns.cell, columns.shown) == (cell, shown)
    assert columns.name >= 14


def test_in_two_columns_every_fourth_split_is_named() -> None:
    matrix = matrix_rows(a_state(splits=24), 0)
    columns = Columns.fit(matrix, 80)
    line = heading(matrix, columns, 0, Look())
    assert line.split() == ["STAGE", "AR", "1", "5", "9", "13", "17", ">DONE", "TIME", "ETA"]
    assert heading(matrix, columns, 5, Look()).split() == ["STAGE", "AR<", "9", "13", "17", "21", "DONE", "TIME", "ETA"]


def test_states_are_told_by_their_glyphs_alone() -> None:
    assert len({mark.glyph for mark in MARKS.values()}) == len({mark.letter for mark in MARKS.values()}) == len(MARKS)
    state = a_state(splits=len(MARKS))
    for part, status in enumerate(MARKS, 1):
        state.items["convert", f"ar1-split{part}"].status = status
    matrix = matrix_rows(state, 0)
    row = next(each for each in matrix.rows if each.id == ("convert", "1"))
    for look in (Look(), Look(ascii=True)):
        parts = row_parts(row, Columns.fit(matrix, 80), 0, look)
        assert [text.strip() for text, _ in parts[1:-1]] == [look.mark(status) for status in MARKS]


async def test_ascii_and_strange_names() -> None:
    state = RunState.of_plan([entry("[red]été[/] \x1b[31m" + "x" * 90), entry("convert")])
    app = Host(state, Look(ascii=True))
    async with app.run_test(size=(80, 24)):
        assert "".join(app.lines).isascii()
        assert app.lines[1].startswith("[red]?t?[/] [31mxxx")
        app.matrix.look = Look()
        assert app.lines[1].startswith("[red]été[/] [31mxxx")


async def test_a_resize_keeps_the_cursor_in_view() -> None:
    app = Host(a_state(splits=24, ars=(1, 2, 4, 8)))
    async with app.run_test(size=(120, 36)) as pilot:
        app.matrix.select(("generate_context_binary", "split24"))
        for size in ((20, 5), (120, 36), (40, 10), (80, 24)):
            await pilot.resize_terminal(*size)
            await pilot.pause()
            assert any(reversed_text(app.matrix.render_line(y)) for y in range(app.matrix.size.height)), size
        assert app.matrix.selected_item == ("generate_context_binary", "split24")
