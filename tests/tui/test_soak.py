"""Minutes of a run, simulated: the screen stays right and does not grow."""

from __future__ import annotations

import gc
import json
from pathlib import Path

import psutil
import pytest
import recorded_runs as recorded
from toy_project import shown, toy_app, until

from qairt.engine.record import events as ev
from qairt.tui.app import LaunchOptions
from qairt.tui.session import ReplaySession

GROWTH = 5e6
"""Bytes."""


def second(number: int, items: list[ev.PlannedEntry]) -> list[ev.Event]:
    """What happens in one second: a sample, a word of progress, and every tenth an item ends and the next begins."""
    now = recorded.BEGAN + number
    happened: list[ev.Event] = [ev.ResourceSample(time=now, ram=10**9 + number * 10**6, cpu_percent=number % 200)]
    place, step = divmod(number, 10)
    if place >= len(items):
        return happened
    item = items[place]
    began, ended = recorded.made(item, now, 9.0)
    if step == 0:
        happened.append(began)
    elif step == 9:
        happened.append(ended.model_copy(update={"time": now}))
    else:
        message = f"graph {step} of 8"
        happened.append(
            ev.ItemProgress(time=now, stage=item.stage, label=item.label, fraction=step / 9, message=message)
        )
    return happened


@pytest.mark.parametrize("minutes", [3, pytest.param(10, marks=pytest.mark.matrix)])
async def test_it_does_not_grow(tmp_path: Path, monkeypatch, minutes: int):
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    items = recorded.entries(45)
    folder = recorded.record(tmp_path / "cache" / "pipeline_state", "0001", [recorded.opening(items)])
    log = tmp_path / "item.log"
    app = toy_app(tmp_path, launch=LaunchOptions(attach=folder))
    process = psutil.Process()
    at_start = 0
    async with app.run_test(size=(120, 36)) as pilot:
        await until(pilot, lambda: isinstance(app.session, ReplaySession))
        session = app.session
        session.state.status = "running"
        monkeypatch.setattr(session, "kind", "host")
        for number in range(60 * minutes):
            with log.open("a") as file:
                file.writelines(f"line {number}.{each} of the tool\n" for each in range(20))
            session._events.put(second(number, items))
            for _ in range(2):  # two refreshes a second
                app._tick()
                await pilot.pause()
            if number == 12 * minutes:
                gc.collect()
                at_start = process.memory_info().rss
        gc.collect()
        grown = process.memory_info().rss - at_start
        assert app.session.state.count("done") == 6 * minutes
        assert len(app.session.state.samples) == 60 * minutes
        assert f"{6 * minutes}/90 items" in shown(app)
    assert grown <= GROWTH, f"{grown / 1e6:.1f} MB"
    assert json.loads((folder.path / "host.json").read_text())["host"]
