"""A log on the screen: following, scrolling, searching, selecting; what is painted and copied."""

from __future__ import annotations

from pathlib import Path
from unittest.mock import patch

import pytest
from textual.app import App, ComposeResult
from textual.content import Content
from textual.geometry import Region
from textual.pilot import Pilot

from qairt.tui.terminal import clipboard
from qairt.tui.terminal.glyphs import Look
from qairt.tui.themes import VARIABLE_DEFAULTS
from qairt.tui.widgets.log_view import LogView


class Host(App[None]):
    def __init__(self, path: Path | None, look: Look | None = None, *, compact: bool = False) -> None:
        super().__init__()
        self.animation_level = "none"
        self.path = path
        self.view = LogView(look, compact=compact)

    def get_theme_variable_defaults(self) -> dict[str, str]:
        return VARIABLE_DEFAULTS

    def compose(self) -> ComposeResult:
        yield self.view

    def on_mount(self) -> None:
        self.view.open(self.path, "convert ar1-split2")
        self.view.focus()


@pytest.fixture(autouse=True)
def _state_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))


@pytest.fixture
def path(tmp_path: Path) -> Path:
    path = tmp_path / "convert.ar1-split2.log"
    path.write_text("".join(f"line {number}\n" for number in range(100)))
    return path


def rows(view: LogView) -> list[str]:
    """The rows on the screen."""
    return [view.render_line(y).text.rstrip() for y in range(view.size.height)]


def title(view: LogView) -> str:
    return Content.from_markup(view.border_title or "").plain


def add(path: Path, text: str) -> None:
    with path.open("a") as log:
        log.write(text)


async def settled(pilot: Pilot[None], view: LogView) -> None:
    view.refresh_from_file()
    await pilot.app.workers.wait_for_complete()
    await pilot.pause()


async def test_it_begins_at_the_end_and_stays_there(path: Path) -> None:
    app = Host(path)
    async with app.run_test(size=(80, 10)) as pilot:
        assert rows(app.view) == [f"line {number}" for number in range(90, 100)]
        add(path, "more\nand mo")
        await settled(pilot, app.view)
        assert rows(app.view)[-3:] == ["line 99", "more", "and mo"]
        add(path, "re\n" + "x\n" * 500)
        await settled(pilot, app.view)
        assert rows(app.view) == ["x"] * 10
        assert app.view.position == "following"


async def test_scrolling_up_stops_following_and_the_end_resumes_it(path: Path) -> None:
    app = Host(path)
    async with app.run_test(size=(80, 10)) as pilot:
        await pilot.press("ctrl+u")
        assert not app.view.following
        before = rows(app.view)
        add(path, "more\n" * 50)
        await settled(pilot, app.view)
        assert rows(app.view) == before, "it stays where it was scrolled to"
        await pilot.press("G")
        assert app.view.following
        assert rows(app.view)[-1] == "more"


async def test_the_mouse_wheel_stops_and_resumes_following(path: Path) -> None:
    app = Host(path)
    async with app.run_test(size=(80, 10)) as pilot:
        app.view.scroll_relative(y=-3, animate=False)
        await pilot.pause()
        assert not app.view.following
        assert rows(app.view)[-1] == "line 96"
        app.view.scroll_relative(y=3, animate=False)
        await pilot.pause()
        assert app.view.following


async def test_keys_move_the_cursor(path: Path) -> None:
    app = Host(path)
    async with app.run_test(size=(80, 10)) as pilot:
        await pilot.press("k", "k")
        assert app.view.cursor == 97
        await pilot.press("g")
        assert (app.view.cursor, rows(app.view)[0]) == (0, "line 0")
        await pilot.press("ctrl+d")
        assert app.view.cursor == 9
        await pilot.press("pagedown")
        assert app.view.cursor == 18
        assert rows(app.view)[-1] == "line 18"
        await pilot.press("j", "up")
        assert app.view.cursor == 18
        await pilot.press("end")
        assert app.view.following
        await pilot.press("f")
        assert not app.view.following
        await pilot.press("f")
        assert app.view.following


async def test_only_rows_that_changed_are_painted(path: Path) -> None:
    path.write_text("one\ntwo\nthr")
    app = Host(path)
    async with app.run_test(size=(80, 10)) as pilot:
        await pilot.pause()
        add(path, "ee")
        with patch.object(app.view, "refresh", wraps=app.view.refresh) as refresh:
            assert app.view.refresh_from_file()
            assert [call.args for call in refresh.call_args_list if call.args] == [(Region(0, 2, 80, 1),)]
            refresh.reset_mock()
            assert not app.view.refresh_from_file()
            refresh.assert_not_called()
        assert rows(app.view)[:3] == ["one", "two", "three"]


async def test_an_emptied_file_begins_again(path: Path) -> None:
    app = Host(path)
    async with app.run_test(size=(80, 10)) as pilot:
        await pilot.press("ctrl+u")
        path.write_text("tried again\n")
        await settled(pilot, app.view)
        assert rows(app.view)[:2] == ["tried again", ""]
        assert app.view.following


async def test_no_file_an_empty_one_and_a_missing_one_say_so(tmp_path: Path) -> None:
    app = Host(None)
    async with app.run_test(size=(80, 10)) as pilot:
        assert rows(app.view)[0] == "no log for this item"
        (tmp_path / "empty.log").touch()
        app.view.open(tmp_path / "empty.log", "convert all")
        await settled(pilot, app.view)
        assert rows(app.view)[0] == "the log is empty"
        app.view.open(tmp_path / "none.log", "convert all")
        await settled(pilot, app.view)
        assert rows(app.view)[0] == "none.log does not exist"
        await pilot.press("j", "k", "g", "G", "n", "e", "v", "w", "T", "left", "right", "y", "ctrl+d", "f")


async def test_text_is_shown_literally(path: Path) -> None:
    path.write_bytes(b"[bold]x[/] [/nope] \x1b[31mred\x1b[0m \x07bell\ttab\nbad \xff\n\x1b[2J\x1b]0;t\x07clear\n")
    app = Host(path)
    async with app.run_test(size=(80, 10)):
        assert rows(app.view)[:3] == ["[bold]x[/] [/nope] red bell     tab", "bad \ufffd", "clear"]


async def test_a_line_of_100_000_columns_is_cut_wrapped_and_scrolled(path: Path) -> None:
    long = "".join(f"{number:09}," for number in range(10_000))
    path.write_text(f"before\n{long}\nafter\n")
    app = Host(path)
    async with app.run_test(size=(81, 10)) as pilot:
        assert rows(app.view)[:3] == ["before", long[:79] + "…", "after"]
        await pilot.press("right")
        assert rows(app.view)[1] == long[40:119] + "…"
        await pilot.press("left", "w")
        shown = rows(app.view)
        assert shown[-1] == "after"
        await pilot.press("g")
        shown = rows(app.view)
        assert shown[:3] == ["before", long[:80], long[80:160]]
        await pilot.press("w")
        assert rows(app.view)[:3] == ["before", long[:79] + "…", "after"]


async def test_wrapped_lines_end_with_the_last_one(path: Path) -> None:
    path.write_text("".join(f"{number:03}" + "x" * 97 + "\n" for number in range(50)))
    app = Host(path)
    async with app.run_test(size=(61, 10)) as pilot:
        await pilot.press("w")
        assert rows(app.view)[0][:3] == "045"
        assert rows(app.view)[-2][:3] == "049"
        add(path, "short\n")
        await settled(pilot, app.view)
        assert rows(app.view)[-1] == "short"
        await pilot.press("g", *["j"] * 5)
        assert app.view.cursor == 5
        assert any(row.startswith("005") for row in rows(app.view))
        await pilot.press("G")
        assert rows(app.view)[-1] == "short"


async def test_lines_look_alike_but_for_their_level(path: Path) -> None:
    path.write_text("fine\nERROR bad\nWARNING so so\nalso fine\n")
    app = Host(path)
    async with app.run_test(size=(80, 10)):
        styles = [next(iter(app.view.render_line(y))).style for y in range(5)]
        colours = [style.color for style in styles if style]
        assert colours[0] == colours[3]
        assert len({colours[0], colours[1], colours[2]}) == 3
        assert len({style.bgcolor for style in styles if style}) == 1


async def test_search_goes_on_and_around(path: Path) -> None:
    app = Host(path)
    async with app.run_test(size=(80, 10)) as pilot:
        app.view.search("LINE 4")
        await settled(pilot, app.view)
        assert app.view.cursor == 4
        await pilot.press("n")
        await settled(pilot, app.view)
        assert app.view.cursor == 40
        assert "line 40" in rows(app.view)
        await pilot.press("N", "N")
        await settled(pilot, app.view)
        assert app.view.cursor == 49
        assert [toast.message for toast in app._notifications] == ["continued from the end"]
        await pilot.press("n")
        await settled(pilot, app.view)
        assert app.view.cursor == 4


async def test_where_a_text_is_found_is_marked_and_scrolled_to(path: Path) -> None:
    path.write_text("short\n" + "-" * 300 + "needle" + "-" * 300 + "\n")
    app = Host(path)
    async with app.run_test(size=(80, 10)) as pilot:
        app.view.search("needle")
        await settled(pilot, app.view)
        marked = [segment.text for segment in app.view.render_line(1) if segment.style and segment.style.reverse]
        assert marked == ["needle"]
        app.view.search("")
        assert not any(segment.style and segment.style.reverse for segment in app.view.render_line(1))


async def test_a_text_that_is_not_there_is_said_to_be_not_there(path: Path) -> None:
    app = Host(path)
    async with app.run_test(size=(80, 10)) as pilot:
        app.view.search("[no such]")
        await settled(pilot, app.view)
        assert [toast.message for toast in app._notifications] == ["no match for '[no such]'"]
        assert app.view.following


async def test_next_error(path: Path) -> None:
    add(path, "ERROR here\nfine\nValueError: x\nfine\n")
    app = Host(path)
    async with app.run_test(size=(80, 10)) as pilot:
        for line in (100, 102, 100):
            await pilot.press("e")
            await settled(pilot, app.view)
            assert app.view.cursor == line


async def test_copying_a_line_and_selected_lines(path: Path) -> None:
    app = Host(path)
    async with app.run_test(size=(80, 10)) as pilot:
        await pilot.press("k", "y")
        assert app.clipboard == "line 98"
        await pilot.press("k", "v", "k", "k")
        assert app.view.position == "3 lines selected"
        await pilot.press("y")
        assert app.clipboard == "line 95\nline 96\nline 97"
        assert clipboard.clipboard_file().read_text() == "line 95\nline 96\nline 97"
        assert app.view.position == "line 96 of 100"


@pytest.mark.parametrize("keys", [[], ["w"]])
async def test_copying_what_the_mouse_selected(path: Path, keys: list[str]) -> None:
    app = Host(path)
    async with app.run_test(size=(80, 10)) as pilot:
        await pilot.press(*keys)
        await pilot.mouse_down(app.view, offset=(3, 2))
        await pilot.hover(app.view, offset=(5, 4))
        await pilot.mouse_up(app.view, offset=(5, 4))
        assert not app.view.following, "the text stands still"
        assert app.view.copy_text == "e 92\nline 93\nline 9"
        assert app.screen.get_selected_text() == "e 92\nline 93\nline 9"
        await pilot.press("y")
        assert app.clipboard == "e 92\nline 93\nline 9"


async def test_selecting_in_a_line_that_is_scrolled_or_wrapped(path: Path) -> None:
    path.write_text("".join(f"{number:03}," for number in range(100)) + "\n")
    app = Host(path)
    async with app.run_test(size=(81, 10)) as pilot:
        await pilot.press("right")
        await pilot.mouse_down(app.view, offset=(0, 0))
        await pilot.hover(app.view, offset=(6, 0))
        await pilot.mouse_up(app.view, offset=(6, 0))
        assert app.view.copy_text == "010,011"
        await pilot.press("w")
        await pilot.mouse_down(app.view, offset=(76, 0))
        await pilot.hover(app.view, offset=(2, 1))
        await pilot.mouse_up(app.view, offset=(2, 1))
        assert app.view.copy_text == "019,020"


async def test_times_since_the_first_line(path: Path) -> None:
    path.write_text("10:00:00 a\nno time\n11:02:03 b\n")
    app = Host(path)
    async with app.run_test(size=(80, 10)) as pilot:
        await pilot.press("T")
        assert rows(app.view)[:3] == ["+0:00:00 10:00:00 a", "         no time", "+1:02:03 11:02:03 b"]
        await pilot.press("T")
        assert rows(app.view)[0] == "10:00:00 a"


async def test_a_log_without_times_says_so(path: Path) -> None:
    app = Host(path)
    async with app.run_test(size=(80, 10)) as pilot:
        await pilot.press("T")
        said = [toast.message for toast in app._notifications]
        assert said == ["no times to show: no line starts with one"]


async def test_a_pane_says_in_its_title_what_it_shows_and_leaves_keys_to_the_screen(path: Path) -> None:
    app = Host(path, compact=True)
    async with app.run_test(size=(80, 10)) as pilot:
        assert title(app.view) == "4 Log · convert ar1-split2 · following"
        await pilot.press("k")
        assert title(app.view) == "4 Log · convert ar1-split2 · line 99 of 100"
        for action in ("wrap", "times", "copy", "next"):
            assert app.view.check_action(action, ()) is False
        assert app.view.copy_text == "line 98"
        app.view.open(None, "quantize [all]")
        assert title(app.view) == "4 Log · quantize [all]"
        assert rows(app.view)[0] == "no log for this item"


async def test_ascii_writes_nothing_else(path: Path) -> None:
    path.write_text("→ 漢字 " + "x" * 200 + "\n")
    app = Host(path, Look(ascii=True), compact=True)
    async with app.run_test(size=(40, 5)):
        assert all(row.isascii() for row in rows(app.view))
        assert rows(app.view)[0].startswith("-> ?? xxx")
        assert title(app.view).isascii()


async def test_wide_characters_keep_within_the_width(path: Path) -> None:
    path.write_text("漢字" * 100 + "\n")
    app = Host(path)
    async with app.run_test(size=(40, 8)) as pilot:
        assert all(app.view.render_line(y).cell_length == 40 for y in range(8))
        await pilot.press("w")
        assert all(app.view.render_line(y).cell_length == 40 for y in range(8))
        assert "".join(rows(app.view)).count("漢字") == 76


@pytest.mark.parametrize("size", [(20, 5), (80, 24), (1, 1), (250, 70)])
async def test_any_size(path: Path, size: tuple[int, int]) -> None:
    add(path, "x" * 1000 + "\n")
    app = Host(path)
    async with app.run_test(size=size) as pilot:
        await pilot.press("w", "k", "k", "w", "g", "right", "v", "j", "ctrl+d", "G", "T", *["left"] * 3)
        await pilot.resize_terminal(80, 24)
        await pilot.pause()
        assert app.view.following
        assert rows(app.view)[-2] == "line 99"
