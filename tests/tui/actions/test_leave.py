"""Leaving the app."""

from __future__ import annotations

import threading
from collections.abc import Iterator

import pytest
from textual.widgets import OptionList
from toy_project import SIZE, shown, toy_app, until

from qairt.engine.run import run as engine_run
from qairt.tui.app import LaunchOptions
from qairt.tui.screens.leave import LeaveScreen
from qairt.tui.session import ThreadSession

pytestmark = pytest.mark.usefixtures("own_folders")


@pytest.fixture
def records_written(monkeypatch: pytest.MonkeyPatch) -> Iterator[threading.Event]:
    """A run that has told its end waits for this event before it writes its records."""
    written, write = threading.Event(), engine_run.write_summary

    def wait_and_write(*args):
        assert written.wait(60)
        write(*args)

    monkeypatch.setattr(engine_run, "write_summary", wait_and_write)
    yield written
    written.set()


async def test_leaving_asks_while_a_run_is_active_and_never_ends_it(tmp_path):
    (held := tmp_path / "held").touch()
    app = toy_app(tmp_path, launch=LaunchOptions(start=True), fan=f"hold_while: {held}")
    async with app.run_test(size=SIZE) as pilot:
        await until(pilot, lambda: app.session.state.count("running"))
        await pilot.press("q")
        await until(pilot, lambda: isinstance(app.screen, LeaveScreen))
        await pilot.press("escape")
        await until(pilot, lambda: app.screen is app.workspace.monitor)
        await pilot.press("ctrl+c")
        await until(pilot, lambda: isinstance(app.screen, LeaveScreen))
        await pilot.press("j", "enter")  # stay
        await until(pilot, lambda: app.screen is app.workspace.monitor)
        assert app.session.state.status == "running"
        await pilot.press("q", "enter")  # leave: the run goes on
        await pilot.pause()
    held.unlink()
    session = app.session
    assert isinstance(session, ThreadSession)
    assert session.over.wait(20)
    session.poll()
    assert session.state.status == "done"


async def test_a_run_that_shows_its_end_is_left_without_a_question(tmp_path, records_written):
    app = toy_app(tmp_path, launch=LaunchOptions(start=True), fan="fail_at: 2")
    async with app.run_test(size=SIZE) as pilot:
        await until(pilot, lambda: app.session.state.status == "failed")
        assert not app.session.over.is_set()
        await pilot.press("q")
        await until(pilot, lambda: not app.is_running)
        records_written.set()
    assert app.return_code == 1


async def test_a_run_starts_once_the_one_before_has_written_its_records(tmp_path, records_written):
    app = toy_app(tmp_path, launch=LaunchOptions(start=True), fan="fail_at: 2")
    async with app.run_test(size=SIZE) as pilot:
        await until(pilot, lambda: app.session.state.status == "failed")
        first = app.session
        await pilot.press("r")
        await pilot.pause(0.5)
        assert app.session is first
        records_written.set()
        await until(pilot, lambda: app.session is not first and app.session.state.status == "failed")
        assert app.session.state.run_id == "0002"


async def test_a_run_that_ends_behind_the_question_is_not_offered_to_be_cancelled(tmp_path):
    (held := tmp_path / "held").touch()
    app = toy_app(tmp_path, launch=LaunchOptions(start=True), fan=f"fail_at: 2, hold_while: {held}")
    async with app.run_test(size=SIZE) as pilot:
        await until(pilot, lambda: app.session.state.count("running"))
        await pilot.press("q")
        await until(pilot, lambda: "Run 0001 is still running" in shown(app))
        held.unlink()
        await until(pilot, lambda: "Run 0001 has ended" in shown(app))
        assert [option.id for option in app.screen.query_one(OptionList).options] == ["detach", "stay"]
        assert "continues" not in shown(app)
        await pilot.press("enter")
        await until(pilot, lambda: not app.is_running)
    assert app.return_code == 1
