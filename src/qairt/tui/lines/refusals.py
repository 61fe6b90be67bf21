"""Requests of the monitor that mean nothing now, and why."""

from __future__ import annotations

from qairt.engine.record.item_state import BUSY, UNMADE, ItemState
from qairt.engine.record.state import RunState


def refusals(state: RunState, item: ItemState | None, *, starting: bool) -> dict[str, str]:
    """By request that cannot be made now, why not.

    Args:
        item: the selected one.
        starting: a run is about to start, of which there is no state yet.
    """
    found: dict[str, str] = {}
    if state.status != "running" and not starting:
        found = dict.fromkeys(("pause", "cancel_run", "cancel_item", "detach"), "no run is active")
    elif item is None or item.status not in BUSY | {"waiting", "ready"}:
        found["cancel_item"] = "the selected item is not running, nor waiting"
    if all(each.status not in UNMADE for each in state.items.values()):
        found["retry"] = "nothing to run again: no item failed or was interrupted"
    return found
