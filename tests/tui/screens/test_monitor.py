"""The monitor over toy stages."""

from __future__ import annotations

import pytest
from toy_project import SIZE, shown, toy_app, until

from qairt.tui.app import LaunchOptions

pytestmark = pytest.mark.usefixtures("own_folders")


async def test_a_failed_item_says_what_where_and_the_remedy(tmp_path):
    app = toy_app(tmp_path, launch=LaunchOptions(start=True), fan="fail_at: 2")
    async with app.run_test(size=(200, 50)) as pilot:
        await until(pilot, lambda: app.session.state.status == "failed" and not app.workspace.run.is_active)
        app.workspace.monitor.matrix.select(("fan", "ar2"))
        await until(pilot, lambda: "leave it out" in shown(app))
        text = shown(app)
        assert "this node is not supported" in text
        assert "1 failed: fan ar2" in text
        await pilot.press("q")
    assert app.return_code == 1


async def test_enter_on_a_failed_item_shows_the_cause_and_the_remedy_first(tmp_path):
    app = toy_app(tmp_path, launch=LaunchOptions(start=True), fan="fail_at: 2")
    async with app.run_test(size=(80, 24)) as pilot:
        await until(pilot, lambda: app.session.state.status == "failed" and not app.workspace.run.is_active)
        app.workspace.monitor.matrix.select(("fan", "ar2"))
        await pilot.press("enter")
        await until(pilot, lambda: "remedy: leave it out" in shown(app))
        assert "error: this node is not supported" in shown(app)
        assert "half way" in shown(app)


async def test_an_empty_log_says_what_became_of_its_item(tmp_path):
    app = toy_app(tmp_path, launch=LaunchOptions(start=True), fan="fail_at: 2")
    async with app.run_test(size=SIZE) as pilot:
        await until(pilot, lambda: app.session.state.status == "failed" and not app.workspace.run.is_active)
        app.workspace.monitor.matrix.select(("source", "all"))
        await until(pilot, lambda: "done: it logged nothing; it took" in shown(app))
        app.workspace.monitor.matrix.select(("join", "all"))
        await until(pilot, lambda: "not run: fan ar2 failed" in shown(app))


async def test_escape_clears_the_filter_and_restores_all_panes(tmp_path):
    app = toy_app(tmp_path, launch=LaunchOptions(start=True))
    async with app.run_test(size=SIZE) as pilot:
        await until(pilot, lambda: app.session.state.status == "done" and not app.workspace.run.is_active)
        await pilot.press("slash", *"fan")
        await until(pilot, lambda: "upper" not in shown(app).partition("Stages")[2].partition("RAM")[0])
        await pilot.press("escape")
        await until(
            pilot, lambda: app.workspace.monitor.matrix.filter == "" and app.focused is app.workspace.monitor.matrix
        )
        await pilot.press("plus")
        await until(pilot, lambda: not app.workspace.monitor.recipe.display)
        await pilot.press("escape")
        await until(pilot, lambda: app.workspace.monitor.recipe.display)


@pytest.mark.parametrize("size", [(80, 24), (200, 50)])
async def test_a_pane_can_be_shown_by_its_number_at_any_size(tmp_path, size):
    app = toy_app(tmp_path, launch=LaunchOptions(start=True))
    async with app.run_test(size=size) as pilot:
        await until(pilot, lambda: app.session.state.status == "done" and not app.workspace.run.is_active)
        monitor = app.workspace.monitor
        for number, pane in enumerate(monitor.panes, start=1):
            await pilot.press(str(number), "plus")
            await until(pilot, lambda pane=pane: pane.region.width > size[0] - 4 and pane.region.height > size[1] - 8)
            assert not any(other.display for other in monitor.panes if other is not pane)
        await until(pilot, lambda: "artifact" in shown(app))  # the fifth is the detail
        await pilot.press("0")
        # Whether the selected item wrote something depends on which was seen running last.
        await until(pilot, lambda: monitor.matrix.display and monitor.feed.display != monitor.log_view.display)


@pytest.mark.parametrize("size", [(20, 5), (80, 24), (250, 70)])
async def test_any_size_works(tmp_path, size):
    app = toy_app(tmp_path, launch=LaunchOptions(start=True))
    async with app.run_test(size=size) as pilot:
        await until(pilot, lambda: app.session.state.status == "done" and not app.workspace.run.is_active)
        for key in (
            "1",
            "2",
            "3",
            "4",
            "5",
            "plus",
            "underscore",
            "0",
            "tab",
            "shift+tab",
            "slash",
            "f",
            "enter",
            "escape",
        ):
            await pilot.press(key)
        await pilot.resize_terminal(20, 5)
        await pilot.pause()
        await pilot.resize_terminal(80, 24)
        await until(pilot, lambda: "fan" in shown(app))


async def test_a_wider_window_shows_what_was_hidden(tmp_path):
    app = toy_app(tmp_path, launch=LaunchOptions(start=True))
    async with app.run_test(size=(80, 24)) as pilot:
        await until(pilot, lambda: app.session.state.status == "done" and not app.workspace.run.is_active)
        await pilot.resize_terminal(200, 50)
        await until(pilot, lambda: "artifact" in shown(app))


_ASCII_BORDERS = {"", "none", "hidden", "blank", "ascii"}


@pytest.mark.parametrize("size", [(80, 24), (100, 30), (120, 36), (200, 50)])
async def test_in_ascii_no_pane_has_another_border_however_it_is_shown(tmp_path, size):
    app = toy_app(tmp_path)
    async with app.run_test(size=size) as pilot:
        await until(pilot, lambda: "join" in shown(app))
        if app.screen is not app.workspace.monitor:
            await pilot.press("escape")
        await until(pilot, lambda: app.screen is app.workspace.monitor)
        await pilot.press("a")
        for keys in ("1", "2", "3", "4", "5", "0", "plus", "0", "slash"):
            await pilot.press(keys)
            await pilot.pause()
            others = {
                (widget.id, kind)
                for widget in app.screen.walk_children()
                if widget.is_on_screen
                for kind, _ in widget.styles.border
                if kind not in _ASCII_BORDERS
            }
            assert not others, f"after {keys}"
