"""Requests to the run that is shown."""

from __future__ import annotations

from qairt.engine.record.folder import Action
from qairt.engine.record.state import UNMADE
from qairt.errors import QairtError
from qairt.tui.actions.plan import PlanActions
from qairt.tui.screens.leave import CancelRunScreen
from qairt.tui.workspace import Workspace


class RequestActions:
    """Pauses, cancels and retries. The run's answer is shown when it arrives."""

    def __init__(self, workspace: Workspace, plan: PlanActions) -> None:
        self._workspace = workspace
        self._plan = plan

    def pause_or_resume(self) -> None:
        run = self._workspace.run
        if run.is_active:
            self._request("resume" if run.session.state.paused else "pause")

    def cancel_item(self) -> None:
        item = self._workspace.monitor.selected
        if item is not None and self._workspace.run.is_active:
            self._request("cancel_item", item.stage, item.label)

    def cancel_run(self) -> None:
        """Cancel the run once the user has typed its id."""
        run = self._workspace.run
        if not self._is_refused() and run.is_active:
            state = run.session.state
            screen = CancelRunScreen(state.run_id, state.count("running", "quiet"))
            self._workspace.app.push_screen(screen, self._cancel_run)

    def retry(self) -> None:
        """Retry failed items in an active run; otherwise start a new run, which reuses finished items."""
        run = self._workspace.run
        unfinished = any(item.status in UNMADE for item in run.session.state.items.values())
        if run.is_active:
            self._request("retry")
        elif unfinished and not self._workspace.readonly:
            self._plan.plan_then_start()
        else:
            self._workspace.app.notify("nothing to retry")

    def _cancel_run(self, confirmed: bool | None) -> None:
        if confirmed:
            self._request("cancel_run")

    def _request(self, action: Action, stage: str = "", label: str = "") -> None:
        if self._is_refused():
            return
        try:
            self._workspace.run.session.request(action, stage, label)
        except QairtError as error:
            self._workspace.app.notify(str(error), severity="error", markup=False)

    def _is_refused(self) -> bool:
        if self._workspace.is_refused():
            return True
        if self._workspace.run.session.readonly:
            self._workspace.app.notify("only an active run takes requests", severity="warning")
            return True
        return False
