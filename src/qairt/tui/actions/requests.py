"""Asking something of the run that is shown."""

from __future__ import annotations

from typing import TYPE_CHECKING

from qairt.engine.record.folder import Action
from qairt.engine.record.state import UNMADE
from qairt.errors import QairtError
from qairt.tui.shell import Shell

if TYPE_CHECKING:
    from qairt.tui.screens.monitor import MonitorScreen


class Asking(Shell):
    """Keys that ask the run for something."""

    def on_monitor_screen_asked(self, event: MonitorScreen.Asked) -> None:
        getattr(self, f"ask_{event.what}")()

    def ask(self, action: Action, stage: str = "", label: str = "") -> None:
        """Leave a request; its answer is shown when it comes."""
        if self.readonly or self.session.readonly:
            self.notify("nothing can be asked of what is shown here", severity="warning")
            return
        try:
            self.session.request(action, stage, label)
        except QairtError as error:
            self.notify(str(error), severity="error", markup=False)

    def ask_pause(self) -> None:
        if self.going:
            self.ask("resume" if self.session.state.paused else "pause")

    def ask_cancel_item(self) -> None:
        item = self.monitor.selected
        if item is not None and self.going:
            self.ask("cancel_item", item.stage, item.label)

    def ask_retry(self) -> None:
        """Within a run that goes on, what failed; after it, a new run, which reuses what is finished."""
        unmade = any(item.status in UNMADE for item in self.session.state.items.values())
        if self.going:
            self.ask("retry")
        elif unmade and not self.readonly:
            self.retry_later()
        else:
            self.notify("nothing failed")

    def retry_later(self) -> None:
        """Plan again, then run: what is finished is reused."""
        self.start_at_once = True
        self.plan_at_start()
