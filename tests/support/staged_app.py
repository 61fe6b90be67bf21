"""The app with the staged plan and run, which looks the same on any machine at any time; and its scenes.

The app is the real one. Fixed are the clock, the time zone, the name of the host, the working directory (a folder
of the test, named relatively everywhere), the events of its run and the files of its cache.
"""

from __future__ import annotations

import fcntl
import os
import socket
import time
from collections.abc import Awaitable, Callable, Iterable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import staged_run as runs
from staged_plan import CACHE, NOW, RECIPE, STATE, keep, open_pipeline, staged_plan
from textual.pilot import Pilot
from textual.widgets import Input, OptionList
from toy_project import until

from qairt.engine.plan.announce import planned_entries
from qairt.engine.plan.planned import Plan
from qairt.engine.record import events as ev
from qairt.engine.record.state import RunState
from qairt.engine.run.options import RunOptions
from qairt.project import PlanResult, Project
from qairt.tui.app import LaunchOptions, QairtApp
from qairt.tui.look import choose_look
from qairt.tui.screens.leave import LeaveScreen
from qairt.tui.screens.plan import PlanScreen
from qairt.tui.session import PlanSession, ReplaySession, ThreadSession
from qairt.tui.settings import UserSettings

OPTIONS = RunOptions(jobs=2, memory=6 * runs.GIGABYTE)

MakeEvents = Callable[[list[ev.PlannedEntry]], list[ev.Event]]
Scene = Callable[["StagedApp", Pilot[Any]], Awaitable[None]]
"""Steps before the picture is taken."""


class StagedProject(Project):
    """Its plan is always the staged one."""

    def __init__(self, *, fresh: bool = False) -> None:
        super().__init__(Path(RECIPE), (), open_pipeline, CACHE, OPTIONS)
        self._fresh = fresh

    def plan(self, options: RunOptions | None = None) -> PlanResult:
        pipeline = self.open_pipeline()
        self.planned = PlanResult(pipeline, staged_plan(pipeline, fresh=self._fresh))  # type: ignore[arg-type]
        return self.planned


class StagedApp(QairtApp):
    """Shows the staged run.

    Args:
        events: of the run, made from the items of its plan; None: nothing runs.
        live: whether that run is going.
        environ: of the terminal, such as `NO_COLOR`.
    """

    def __init__(
        self,
        events: MakeEvents | None = runs.compiling,
        *,
        live: bool = True,
        fresh: bool = False,
        ascii: bool = False,
        theme: str = "qairt-dark",
        environ: dict[str, str] | None = None,
    ) -> None:
        project = StagedProject(fresh=fresh)
        settings = UserSettings(ascii=ascii, theme=theme)
        appearance = choose_look(settings, environ or {}, "utf-8")
        super().__init__(project, settings, replace(appearance, refresh=10.0), LaunchOptions())
        self._make_events = events
        self._live = live

    async def settle(self, pilot: Pilot[Any]) -> None:
        """Wait until everything loaded in the background is shown."""
        quiet = 0
        while quiet < 2:
            await pilot.pause(0.01)
            quiet = quiet + 1 if all(worker.is_finished for worker in self.workers) else 0
        self.workspace.refresh(changed=True)
        await pilot.pause()

    async def open(self, pilot: Pilot[Any]) -> None:
        """Switch from the plan, the first screen, to the run."""
        await until(pilot, lambda: isinstance(self.screen, PlanScreen))
        await self.settle(pilot)
        if self._make_events is not None:
            plan = self.project.planned.plan
            assert plan is not None
            self._stage(self._make_events(planned_entries(plan)))
            self.workspace.open_monitor()
            await self.settle(pilot)

    def _stage(self, events: list[ev.Event]) -> None:
        pipeline = self.project.planned.pipeline
        assert pipeline is not None
        if self._live:
            session = ThreadSession(pipeline, OPTIONS, RunState())
            for event in events:
                session._receive(event)
        else:
            session = ReplaySession(runs.record("0142", events, Path(RECIPE).read_text()))  # type: ignore[assignment]
            session._thread.join()
        self.workspace.show_session(session)
        self.workspace.run.poll()


def fix(monkeypatch: pytest.MonkeyPatch, folder: Path, *, environ: dict[str, str] | None = None) -> None:
    """Fix everything that differs between machines or runs; work in `folder`."""
    monkeypatch.chdir(folder)
    monkeypatch.setattr(Path, "absolute", lambda self: self)
    monkeypatch.setattr(socket, "gethostname", lambda: runs.HOST)
    monkeypatch.setenv("XDG_CONFIG_HOME", "config")
    monkeypatch.setenv("XDG_STATE_HOME", "state")
    monkeypatch.setenv("TZ", "UTC")
    time.tzset()
    for name in ("NO_COLOR", "TERM", "SSH_CONNECTION", "TMUX", "QAIRT_THEME", "COLORTERM"):
        monkeypatch.delenv(name, raising=False)
    for name, value in (environ or {}).items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(Input, "_toggle_cursor", lambda self: None)
    monkeypatch.setattr(time, "time", lambda: NOW)


def fill(plan: Plan) -> None:
    """Fill the cache with what the plan reuses, and with older entries."""
    keep(list(plan.known.values()))
    before = Path(RECIPE).read_text().replace("act_bitwidth: 16", "act_bitwidth: 8")
    (STATE / "recipe.yaml").write_text(before)


def earlier_runs(plan: Plan) -> None:
    """Four runs: two successful, one failed, one killed."""
    entries = planned_entries(plan)
    all_new = [entry.model_copy(update={"cached": False}) for entry in entries]
    now, before = Path(RECIPE).read_text(), (STATE / "recipe.yaml").read_text()
    day = 86_400
    first = runs.ended(all_new, run_id="0138", at=NOW - 5 * day, slower=1.2)
    runs.record("0138", first, before, metrics={"ppl": 18.31, "sqnr_db": 22.4})
    shift = NOW - 3 * day - runs.BEGAN
    runs.record("0139", _moved(runs.failing(entries), shift, "0139"), now)
    runs.record("0140", _moved(runs.compiling(entries), shift + day, "0140"), now)
    last = runs.ended(entries, run_id="0141", at=NOW - 7 * 3600)
    runs.record("0141", last, now, metrics={"ppl": 17.92, "sqnr_db": 24.6})


def _moved(events: Iterable[ev.Event], seconds: float, run_id: str) -> list[ev.Event]:
    return [
        event.model_copy(
            update={"time": event.time + seconds} | ({"run_id": run_id} if isinstance(event, ev.RunStarted) else {})
        )
        for event in events
    ]


# Scenes: what is done once the run is shown


async def _at(app: StagedApp, pilot: Pilot[Any], item: str, *keys: str) -> None:
    stage, label = item.split()
    app.workspace.monitor.matrix.select((stage, label))
    app.workspace.monitor._user_moved = True
    await pilot.press(*keys)
    await app.settle(pilot)


async def monitor(app: StagedApp, pilot: Pilot[Any]) -> None:
    await _at(app, pilot, "generate_context_binary split2")


async def plan(app: StagedApp, pilot: Pilot[Any]) -> None:
    await pilot.press("p")
    await app.settle(pilot)
    app.screen.query_one(OptionList).highlighted = 11
    await app.settle(pilot)


async def why(app: StagedApp, pilot: Pilot[Any]) -> None:
    await _at(app, pilot, "generate_context_binary split3", "w")


async def log(app: StagedApp, pilot: Pilot[Any]) -> None:
    await _at(app, pilot, "generate_context_binary split2", "L")


async def runs_list(app: StagedApp, pilot: Pilot[Any]) -> None:
    lock = os.open(STATE / "runs/0142/lock", os.O_RDWR)
    fcntl.flock(lock, fcntl.LOCK_EX)  # as a process that runs it does
    app.set_timer(60, lambda: os.close(lock))
    await pilot.press("R")
    await app.settle(pilot)


async def compare(app: StagedApp, pilot: Pilot[Any]) -> None:
    await runs_list(app, pilot)
    await pilot.press("down", "space", "end", "space", "equals_sign")
    await app.settle(pilot)


async def cache(app: StagedApp, pilot: Pilot[Any]) -> None:
    await pilot.press("C")
    await app.settle(pilot)
    await pilot.press("down")
    await app.settle(pilot)


async def help(app: StagedApp, pilot: Pilot[Any]) -> None:
    await pilot.press("question_mark")
    await app.settle(pilot)


async def clear(app: StagedApp, pilot: Pilot[Any]) -> None:
    plan = app.project.planned.plan
    assert plan is not None
    app.workspace.show_session(PlanSession(RunState.of_plan(planned_entries(plan), recipe=runs.RECIPE)))
    await _at(app, pilot, "convert ar128-split2", "c")


async def clear_refused(app: StagedApp, pilot: Pilot[Any]) -> None:
    await _at(app, pilot, "convert ar128-split2", "c")


async def leave(app: StagedApp, pilot: Pilot[Any]) -> None:
    await pilot.press("q")
    await until(pilot, lambda: isinstance(app.screen, LeaveScreen))
    await app.settle(pilot)


async def cancel_run(app: StagedApp, pilot: Pilot[Any]) -> None:
    await pilot.press("X")
    await app.settle(pilot)


async def theme(app: StagedApp, pilot: Pilot[Any]) -> None:
    await pilot.press("t")
    await app.settle(pilot)


async def palette(app: StagedApp, pilot: Pilot[Any]) -> None:
    await pilot.press("colon", *"theme")
    await app.settle(pilot)
    await pilot.pause(0.3)


async def waiting(app: StagedApp, pilot: Pilot[Any]) -> None:
    """An item that has no log: the run's feed stands there."""
    await _at(app, pilot, "export_bundle all")


async def states(app: StagedApp, pilot: Pilot[Any]) -> None:
    await _at(app, pilot, "quantize ar128-split2")


async def failed(app: StagedApp, pilot: Pilot[Any]) -> None:
    await _at(app, pilot, "generate_context_binary split3")


async def nothing(app: StagedApp, pilot: Pilot[Any]) -> None:
    await app.settle(pilot)


async def ending(app: StagedApp, pilot: Pilot[Any]) -> None:
    """The page at the end, with a published bundle and what was measured about it."""
    bundle = CACHE / "export_bundle"
    bundle.mkdir()
    for number, size in enumerate((29_163_520, 18_874_368, 18_874_368, 31_457_280), 1):
        (bundle / f"model_part{number}.bin").touch()
        os.truncate(bundle / f"model_part{number}.bin", size)
    for name, size in (("embedding.raw", 56_623_104), ("tokenizer.json", 2_104_556), ("genie_config.json", 1_408)):
        (bundle / name).touch()
        os.truncate(bundle / name, size)
    app.project.find_quality = lambda pipeline: (
        ("Perplexity", "17.92", "+0.41 against float"),
        ("Fidelity", "good", "no part below its threshold"),
    )
    await pilot.press("E")
    await app.settle(pilot)


SCENES: dict[str, Scene] = {
    "monitor": monitor,
    "plan": plan,
    "why": why,
    "log": log,
    "runs": runs_list,
    "compare": compare,
    "cache": cache,
    "help": help,
    "clear": clear,
    "leave": leave,
    "cancel_run": cancel_run,
    "theme": theme,
    "palette": palette,
}
"""Every screen."""


def furnish(names: Iterable[str]) -> None:
    """Create the folders that these scenes show."""
    made = staged_plan(open_pipeline())
    fill(made)
    runs.record("0142", runs.compiling(planned_entries(made)), Path(RECIPE).read_text())
    if set(names) & {"runs", "compare"}:
        earlier_runs(made)
