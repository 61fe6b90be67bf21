"""Opening what is selected: an item, its log, the list of runs."""

from __future__ import annotations

from collections.abc import Callable

from qairt.engine.record.folder import RunFolder
from qairt.engine.record.item_state import BUSY
from qairt.engine.record.sentences import nothing_written
from qairt.tui.actions.plan import PlanActions
from qairt.tui.workspace import Workspace


class OpenActions:
    """Opens screens over the monitor.

    Args:
        rate: refreshes per second, as they are now.
    """

    def __init__(self, workspace: Workspace, plan: PlanActions, rate: Callable[[], float]) -> None:
        self._workspace = workspace
        self._plan = plan
        self._rate = rate

    def open_selected(self) -> None:
        """Open the plan while nothing runs; otherwise the item's log, or why it will run."""
        item = self._workspace.monitor.selected
        if item is None or self._workspace.run.session.kind == "plan":
            self._plan.open_plan()
        elif item.status in ("waiting", "ready", "stale", "blocked"):
            self._plan.open_why()
        else:
            self.open_log()

    def open_log(self) -> None:
        workspace = self._workspace
        item = workspace.monitor.selected
        path = workspace.find_log(item) if item else None
        if item is None or path is None:
            workspace.app.notify(nothing_written(item) if item else "no item is selected", markup=False)
            return
        from qairt.tui.screens.log import LogScreen

        running = item.status in BUSY
        screen = LogScreen(
            path,
            item.name,
            workspace.look,
            running=running,
            nothing=nothing_written(item, path),
            seconds=1 / self._rate(),
        )
        workspace.app.push_screen(screen)

    def open_needs(self) -> None:
        """Show what the selected item needs and what needs it; an item chosen there is selected."""
        workspace = self._workspace
        item = workspace.monitor.selected
        if item is None:
            return
        from qairt.tui.screens.needs import NeedsScreen

        def chosen(key: tuple[str, str] | None) -> None:
            if key is not None:
                workspace.monitor.go_to(key)

        workspace.app.push_screen(NeedsScreen(workspace.run.session.state, item, workspace.look), chosen)

    def open_runs(self) -> None:
        from qairt.tui.screens.runs import RunsScreen

        workspace = self._workspace
        screen = RunsScreen(workspace.project.state_folder, workspace.look, readonly=workspace.readonly)
        workspace.app.push_screen(screen)

    def open_run(self, run_id: str) -> None:
        """Follow or replay a run, unless one in this process is active."""
        workspace = self._workspace
        if workspace.run.is_active_here:
            active = workspace.run.session.state.run_id
            workspace.app.notify(f"run {active} is running in this program: cancel it or wait until it ends")
        else:
            workspace.attach(RunFolder(workspace.project.state_folder / "runs" / run_id))
