"""A recipe open in the app: the run that is shown, the screens that show it, and work in the background."""

from __future__ import annotations

import time
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Protocol, runtime_checkable

from textual.app import App

from qairt.engine.cache.cache import StageCache
from qairt.engine.cache.entry import Entry
from qairt.engine.cache.manifest_words import ManifestReader
from qairt.engine.plan.planned import PlannedItem
from qairt.engine.record.folder import RunFolder, run_folders
from qairt.engine.record.item_state import ItemState
from qairt.engine.record.state import RunState
from qairt.project import PlanResult, Project
from qairt.tui.background import BackgroundWork
from qairt.tui.session import EngineSession, HostSession, PlanSession, ReplaySession
from qairt.tui.shown_run import ShownRun
from qairt.tui.terminal import clipboard
from qairt.tui.terminal.glyphs import Look
from qairt.tui.terminal.scrollbar import use_scrollbars

if TYPE_CHECKING:
    from qairt.tui.screens.monitor import MonitorScreen


@runtime_checkable
class RunFollower(Protocol):
    """A screen other than the monitor that shows the state of the run."""

    def tick(self, state: RunState, now: float) -> None:
        """Show the run as it is at `now`."""


@runtime_checkable
class HasLook(Protocol):
    """A screen that can switch between glyphs and ASCII."""

    look: Look


class Workspace:
    """What every action acts on.

    Args:
        readonly: nothing can be started, requested or cleared.
    """

    def __init__(self, app: App[int], project: Project, look: Look, *, readonly: bool) -> None:
        self.app = app
        self.project = project
        self.look = look
        self.readonly = readonly
        self.run = ShownRun(PlanSession(RunState(recipe=str(project.recipe))))
        self.background = BackgroundWork(app)
        self._monitor: MonitorScreen | None = None
        self._manifest: ManifestReader | None = None

    # The run that is shown

    def show_session(self, session: EngineSession) -> None:
        """Show another session."""
        self.run.replace(session)
        self.forget_item()
        self.refresh(changed=True)

    def attach(self, run: RunFolder) -> None:
        """Follow an active run, or replay a finished one."""
        if run.liveness() in ("running", "unknown"):
            self.show_session(HostSession(run, readonly=self.readonly))
        else:
            self.show_session(ReplaySession(run))
        self.open_monitor()

    # The monitor

    @property
    def monitor(self) -> MonitorScreen:
        """Created on first use, so that the plan is shown sooner."""
        if self._monitor is None:
            from qairt.tui.screens.monitor import MonitorScreen

            self._monitor = MonitorScreen(
                self.look, self.project.name, self.find_item, self.find_log, lambda: self.run.events
            )
        return self._monitor

    @property
    def is_monitor_on_top(self) -> bool:
        return self.app.screen is self._monitor

    def open_monitor(self) -> None:
        """Show the monitor and close the screens above it."""
        if self.monitor.is_attached:
            while self.app.screen is not self.monitor:
                self.app.pop_screen()
            return
        while len(self.app.screen_stack) > 1:
            self.app.pop_screen()
        self.app.push_screen(self.monitor)
        self.show_recipe_values(self.project.planned)
        self.monitor.call_after_refresh(self.refresh, changed=True)

    def refresh(self, *, changed: bool) -> None:
        """Show the run on the current screen, and on the monitor where it is seen behind a dialog.

        Args:
            changed: whether anything happened since the last call; otherwise only clocks advance.
        """
        screen, now = self.app.screen, time.time()
        changed = self.run.session.state.show_cleared(self.project.planned.cleared) or changed
        if self._monitor is not None and self._monitor.is_attached and self._monitor.is_current:
            self._monitor.show(self.run.session, now, changed=changed)
        if isinstance(screen, RunFollower):
            screen.tick(self.run.session.state, now)

    def show_recipe_values(self, planned: PlanResult) -> None:
        """Fill the monitor's recipe pane, if there is a monitor."""
        if planned.pipeline is None and self._monitor is not None and not self.project.recipe.is_file():
            self._monitor.show_recipe(None)
        if planned.pipeline is not None and self._monitor is not None:
            from qairt.engine.settings_in_force import recipe_values

            self.background.run(partial(recipe_values, planned.pipeline), self._monitor.show_recipe)

    def forget_item(self) -> None:
        """Look the selected item up again at the next refresh."""
        if self._monitor is not None:
            self._monitor.forget_item()

    def set_look(self, look: Look) -> None:
        """Switch every screen between glyphs and ASCII."""
        self.look = look
        use_scrollbars(look)
        self.app.set_class(look.ascii, "-ascii")
        self.monitor.look = look
        for screen in self.app.screen_stack:
            if isinstance(screen, HasLook):
                screen.look = look
            screen.set_class(look.ascii, "-ascii")
            screen.refresh_bindings()  # the footer names keys
        self.app.screen.refresh(layout=True)
        self.refresh(changed=True)

    # Items

    def find_item(self, stage: str, label: str) -> tuple[PlannedItem | None, Entry | None, list[tuple[str, str]]]:
        """The plan of an item, its cache entry, and what the manifest says of it."""
        planned = self.find_planned(stage, label)
        state = self.run.session.state.items.get((stage, label))
        key = state.key if state and state.key else planned.key if planned else ""
        entry = StageCache(self.project.cache_dir).present(key) if key else None
        if self._manifest is None or self._manifest.path.parent != self.project.state_folder:
            self._manifest = ManifestReader(self.project.state_folder / "manifest.json")
        return planned, entry, self._manifest.words(stage, label, key, entry)

    def find_planned(self, stage: str, label: str) -> PlannedItem | None:
        plan = self.project.planned.plan
        return next((item for item in plan.items if item.name == f"{stage} {label}"), None) if plan else None

    def find_log(self, item: ItemState) -> Path | None:
        """The log of an item, from this run or the one that built it."""
        if item.log and Path(item.log).is_file():
            return Path(item.log)
        if item.status in ("waiting", "ready", "stale"):
            return None
        name = f"{item.stage}.{item.label}.log"
        folders = reversed(run_folders(self.project.state_folder))
        return next((run.logs / name for run in folders if (run.logs / name).is_file()), None)

    # For the user

    def is_refused(self) -> bool:
        """Whether changes are refused because the screen is read-only; if so, the user is notified."""
        if self.readonly:
            self.app.notify("read-only screen (--readonly)", severity="warning")
        return self.readonly

    def copy(self, text: str) -> None:
        """Copy text to the clipboard and notify the user."""
        self.app.notify(clipboard.copy(self.app, text), markup=False)
