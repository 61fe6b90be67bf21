"""Requests to the run that is shown."""

from __future__ import annotations

import time

from qairt.amounts import count, duration
from qairt.engine.record.folder import Action
from qairt.engine.record.item_state import BUSY, UNMADE, ItemState
from qairt.engine.record.state import RunState
from qairt.errors import QairtError
from qairt.tui.actions.plan import PlanActions
from qairt.tui.lines.matrix import percent
from qairt.tui.screens.leave import CancelRunScreen, ConfirmScreen
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
        """Cancel the selected item; asks if it is running."""
        item, run = self._workspace.monitor.selected, self._workspace.run
        if item is None or not run.is_active or self._is_refused():
            return
        if item.status not in BUSY:
            self._request("cancel_item", item.stage, item.label)
            return
        name = (item.stage, item.label)
        lost = what_is_lost(run.session.state, item, time.time())
        screen = ConfirmScreen(f"Cancel {item.name}?", lost)
        self._workspace.app.push_screen(screen, lambda yes: self._cancel_item(name) if yes else None)

    def cancel_run(self) -> None:
        """Cancel the run once the user has typed its id."""
        run = self._workspace.run
        if self._is_refused() or not run.is_active:
            return
        state = run.session.state
        if not state.run_id:
            self._workspace.app.push_screen(
                ConfirmScreen("Cancel the run?", "It is starting: nothing is lost."), self._cancel_run
            )
            return
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

    def _cancel_item(self, name: tuple[str, str]) -> None:
        if self._workspace.run.is_active:
            self._request("cancel_item", *name)

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


def what_is_lost(state: RunState, item: ItemState, now: float) -> str:
    """What cancelling a running item costs: its time so far, and what needs it."""
    spent = f"It has run for {duration(now - item.started)}" if item.started is not None else "It has just started"
    reached = f", and is {percent(item, now)} done" if item.fraction else ""
    needing = len(state.leads_to(item))
    blocked = (
        f" {count(needing, 'item')} that {'needs' if needing == 1 else 'need'} it will not run." if needing else ""
    )
    return f"{spent}{reached}; that is lost unless its stage can resume.{blocked}"
