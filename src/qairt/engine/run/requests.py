"""Requests to a run in progress: pause, resume, cancel, retry. They are left in its folder and answered by events."""

from __future__ import annotations

import threading
from dataclasses import dataclass, field

from qairt.engine.plan.planned import PlannedItem
from qairt.engine.record.folder import Request
from qairt.engine.record.item_state import BUSY
from qairt.engine.record.state import RunState
from qairt.engine.run.scheduler import Scheduler
from qairt.engine.run.stop import Cancellations


@dataclass
class RunRequests:
    """Carries out what is requested of a run.

    Args:
        stop: set to end the run.
        paused: while set, no item starts.
        state: the run's state, folded from its events.
    """

    stop: threading.Event
    state: RunState
    cancellations: Cancellations
    paused: threading.Event = field(default_factory=threading.Event)
    _scheduler: Scheduler | None = None
    _items: dict[tuple[str, str], PlannedItem] = field(default_factory=dict)

    def schedule(self, scheduler: Scheduler, items: list[PlannedItem]) -> None:
        """From now on requests go to this scheduler, which runs these items."""
        self._items = {(item.stage.name, item.label): item for item in items}
        self._scheduler = scheduler

    def answer(self, request: Request) -> tuple[bool, str]:
        """Whether the request was carried out, and a message."""
        scheduler = self._scheduler
        if scheduler is None:
            return False, "the run has not started yet"
        match request.action:
            case "cancel_run":
                self.stop.set()
                scheduler.wake()
                return True, "cancelling the run: running items are stopped, finished items are kept"
            case "cancel_item":
                return self._cancel(scheduler, request.stage, request.label)
            case "pause":
                self.paused.set()
                return True, "paused: running items continue, no new ones start"
            case "resume":
                self.paused.clear()
                scheduler.wake()
                return True, "resumed"
            case "retry":
                if not self.state.count("failed") and not self.cancellations:
                    return False, "nothing failed"
                scheduler.retry()
                return True, "retrying the failed items"
        return False, f"this version of qairt does not support {request.action}"

    def _cancel(self, scheduler: Scheduler, stage: str, label: str) -> tuple[bool, str]:
        item = self._items.get((stage, label))
        state = self.state.items.get((stage, label))
        if item is None or state is None or state.status not in BUSY | {"waiting", "ready"}:
            return False, f"{stage} {label} is not waiting or running"
        if self.cancellations.cancel(item.name):
            return True, f"stopping {item.name}, unless it has just finished"
        scheduler.cancel(item)
        return True, f"{item.name} was cancelled"
