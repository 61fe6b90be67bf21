"""Why an item has not started."""

from __future__ import annotations

from qairt.engine.record.item_state import BUSY, MADE, ItemState
from qairt.engine.record.state import RunState


def waits_for(item: ItemState, run: RunState) -> str:
    """What it waits for: `needs 3.8 GB of memory, 2.1 GB free`; empty if nothing is known."""
    if item.status == "waiting":
        made = {other.name for other in run.items.values() if other.status in MADE}
        missing = [name for name in item.sources if name not in made]
        more = f" and {len(missing) - 1} more" if len(missing) > 1 else ""
        return f"waits for {missing[0]}{more}" if missing else ""
    if item.status != "ready":
        return ""
    if run.paused:
        return "the run is paused"
    if run.scheduler:
        return f"waits for a worker of {run.scheduler}"
    busy = [other for other in run.items.values() if other.status in BUSY]
    if len(busy) >= run.jobs:
        return f"waits for one of {run.jobs} job slots"
    free = run.memory - sum(other.expected_ram for other in busy)
    if busy and run.memory and item.expected_ram > free:
        return f"needs {item.expected_ram / 1e9:.1f} GB of memory, {max(free, 0) / 1e9:.1f} GB free"
    return "waits for a core"
