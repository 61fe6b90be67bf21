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
from qairt.tui.lines.stage_rows import ShownRow, shown_rows, stage_groups
from qairt.tui.terminal.glyphs import MARKS, Look
from qairt.tui.themes import VARIABLE_DEFAULTS
from qairt.tui.widgets.matrix import StageMatrix
from qairt.tui.widgets.matrix_columns import CELLS, Columns, heading, row_parts

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


def fitted_to(state: RunState, width: int = 80) -> tuple[Columns, tuple[ShownRow, ...]]:
    """The columns of a matrix with all its stages open, and its rows."""
    matrix = matrix_rows(state, 0)
    rows = shown_rows(stage_groups(matrix, 0, 1), {}, 100)
    return Columns.fit(matrix, rows, width), rows


def reversed_text(strip: Strip) -> str:
    return "".join(segment.text for segment in strip if segment.style and segment.style.reverse)


async def test_keys_move_the_cursor_and_say_so() -> None:
    app = Host(a_state())
    async with app.run_test(size=(80, 24)) as pilot:
        assert app.matrix.selected_item == ("model_loading", "all")
        await pilot.press("j")
        assert app.matrix.selected_item == ("split_model", "ar1-split1"), "a stage stands for what matters most in it"
        assert len(app.matrix.selected_row_items) == 6
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
        await pilot.press("j", "j", "l")
        shown = [reversed_text(app.matrix.render_line(y)) for y in range(app.matrix.size.height)]
        assert shown[3].strip() == "·"
        assert not any(shown[:3] + shown[4:])
        await pilot.press("k")
        assert reversed_text(app.matrix.render_line(2)).strip() == "split_model", "an open stage shows no items itself"


async def test_clicks_select_and_then_open() -> None:
    app = Host(a_state())
    async with app.run_test(size=(80, 24)) as pilot:
        first = app.lines[3].index("·")
        x = app.lines[3].index("·", first + 1)
        await pilot.click(app.matrix, offset=(x, 3))
        assert app.matrix.selected_item == ("split_model", "ar1-split2")
        assert not app.opened
        await pilot.click(app.matrix, offset=(x, 3))
        assert app.opened == [("split_model", "ar1-split2")]
        await pilot.click(app.matrix, offset=(6, 4))
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
            assert lines == [8, 9], "the stage's bar, and the row"
            lines.clear()
            app.matrix.action_move(1, 0)
            assert set(lines) == {1, 2}
        assert app.lines[8].startswith("▼ convert")


async def test_the_cursor_stays_on_its_item_when_rows_come_and_go() -> None:
    app = Host(a_state())
    async with app.run_test(size=(80, 24)) as pilot:
        assert app.matrix.select(("quantize", "ar128-split2"))
        app.matrix.filter = "QUANT"
        assert [line.split()[:2] for line in app.lines[1:4]] == [["▼", "quantize"], ["AR", "1"], ["AR", "128"]]
        assert not app.lines[4].strip()
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


async def test_stages_are_folded_and_opened_by_key() -> None:
    app = Host(a_state())
    async with app.run_test(size=(80, 24)) as pilot:
        app.matrix.select(("convert", "ar128-split2"))
        await pilot.press("minus")
        assert app.matrix.selected_stage == "convert"
        folded = next(line for line in app.lines if "convert" in line)
        assert folded.startswith("▶ convert")
        assert folded.count("·") == 3, "one sign per split stands for both ARs"
        assert len(app.matrix.selected_row_items) == 6
        app.state.items["convert", "ar128-split2"].status = "failed"
        app.matrix.show(app.state, 0)
        line = next(line for line in app.lines if "convert" in line)
        assert line[:38].count("×") == 1, "the gravest state is shown"
        assert "××───" in line[38:], "and in the bar"
        assert app.matrix.select(("convert", "ar128-split2"))
        assert app.matrix.selected_item == ("convert", "ar128-split2")
        await pilot.press("minus")
        assert any(line.startswith("▼ convert") for line in app.lines)
        await pilot.press("asterisk")
        assert [line[0] for line in app.lines[1:8]] == [" ", "▶", "▶", "▶", "▶", " ", " "]
        await pilot.press("asterisk")
        assert sum(line.startswith("▼") for line in app.lines) == 4
        x = app.lines[2].index("▼")
        await pilot.click(app.matrix, offset=(x, 2))
        assert app.lines[2].startswith("▶ split_model"), "a click on the sign folds"


async def test_where_there_is_little_room_stages_at_work_are_open() -> None:
    state = a_state()
    for item in state.items.values():
        item.status = "done" if item.stage in STAGES[:2] else item.status
    state.items["quantize", "ar1-split1"].status = "running"
    app = Host(state)
    async with app.run_test(size=(80, 24)) as pilot:
        app.matrix.room = 9
        app.matrix.show(state, 0)
        assert [line.split()[1] for line in app.lines if line[0] in "▶▼"] == list(STAGES)
        assert [line[0] for line in app.lines if line[0] in "▶▼"] == ["▶", "▶", "▶", "▼"]
        app.matrix.room = 11
        assert [line[0] for line in app.lines if line[0] in "▶▼"] == ["▶", "▶", "▼", "▼"], "then what is to come"
        app.matrix.room = 20
        assert [line[0] for line in app.lines if line[0] in "▶▼"] == ["▶", "▶", "▼", "▼"], "what is made stays folded"
        app.matrix.room = 21
        assert "▶" not in {line[0] for line in app.lines}
        app.matrix.room = 7
        app.matrix.select(("quantize", "ar1-split1"))
        await pilot.press("minus", "down")
        assert app.matrix.selected_item == ("quantize", "ar1-split1")
        assert app.matrix.wanted_height == 10, "what the user opened stays open"


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


@pytest.mark.parametrize(("splits", "cell", "shown"), [(3, 6, 3), (8, 4, 8), (16, 2, 16), (24, 2, 18)])
def test_columns_get_narrower_and_then_scroll(splits: int, cell: int, shown: int) -> None:
    columns, _ = fitted_to(a_state(splits=splits))
    assert (columns.cell, columns.shown) == (cell, shown)
    assert columns.name >= 14


def test_in_two_columns_every_fourth_split_is_named() -> None:
    matrix = matrix_rows(a_state(splits=24), 0)
    columns, _ = fitted_to(a_state(splits=24))
    line = heading(matrix, columns, 0, Look())
    assert line.split() == ["STAGE", "1", "5", "9", "13", "17", ">", "DONE", "TIME", "ETA"]
    assert heading(matrix, columns, 6, Look()).split() == ["STAGE", "<", "9", "13", "17", "21", "DONE", "TIME", "ETA"]


def test_states_are_told_by_their_glyphs_alone() -> None:
    assert len({mark.glyph for mark in MARKS.values()}) == len({mark.letter for mark in MARKS.values()}) == len(MARKS)
    state = a_state(splits=len(MARKS))
    for part, status in enumerate(MARKS, 1):
        state.items["convert", f"ar1-split{part}"].status = status
    columns, rows = fitted_to(state)
    row = next(each for each in rows if each.id == ("convert", "1"))
    for look in (Look(), Look(ascii=True)):
        parts = row_parts(row, columns, 0, look)
        assert [text.strip() for text, _ in parts[CELLS : CELLS + len(MARKS)]] == [look.mark(each) for each in MARKS]


async def test_ascii_and_strange_names() -> None:
    state = RunState.of_plan([entry("[red]été[/] \x1b[31m" + "x" * 90), entry("convert")])
    app = Host(state, Look(ascii=True))
    async with app.run_test(size=(80, 24)):
        assert "".join(app.lines).isascii()
        assert app.lines[1].startswith("  [red]?t?[/] [31mxxx")
        app.matrix.look = Look()
        assert app.lines[1].startswith("  [red]été[/] [31mxxx")


async def test_a_resize_keeps_the_cursor_in_view() -> None:
    app = Host(a_state(splits=24, ars=(1, 2, 4, 8)))
    async with app.run_test(size=(120, 36)) as pilot:
        app.matrix.select(("generate_context_binary", "split24"))
        for size in ((20, 5), (120, 36), (40, 10), (80, 24)):
            await pilot.resize_terminal(*size)
            await pilot.pause()
            assert any(reversed_text(app.matrix.render_line(y)) for y in range(app.matrix.size.height)), size
        assert app.matrix.selected_item == ("generate_context_binary", "split24")


@pytest.mark.parametrize("width", [46, 60, 80, 120])
def test_what_stands_in_place_of_the_time_left_is_not_cut(width: int) -> None:
    items = [
        ev.PlannedEntry(
            stage=stage,
            label=f"ar1-split{part}",
            coord=(("ar", 1), ("split", part)),
            key="k",
            cached=False,
            reason="",
            seconds=60.0,
            from_history=True,
            on_demand=stage == "convert",
        )
        for stage in ("convert", "quantize")
        for part in (1, 2, 3)
    ]
    columns, rows = fitted_to(RunState.of_plan(items), width)
    lines = ["".join(text for text, _ in row_parts(row, columns, 0, Look())) for row in rows]
    assert [len(line) for line in lines] == [len(lines[0])] * len(lines)
    assert len(lines[0]) <= width
    assert lines[0].rstrip().endswith(" on demand")
