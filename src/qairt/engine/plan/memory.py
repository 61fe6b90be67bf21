"""What the items of a plan need in memory, against what they may use together."""

from __future__ import annotations

from qairt.amounts import size
from qairt.engine.plan.planned import Plan


def memory_warnings(plan: Plan, memory: int) -> list[str]:
    """A sentence that names every stage of which one item alone is expected to need more than `memory` bytes, or none.

    Such an item runs alone: the limit says what runs beside what, not what an item may use.
    """
    most = {
        planned.stage.name: max((item.peak_ram for item in planned.items if item.runs), default=0)
        for planned in plan.stages
    }
    above = [f"{name} ({size(needed)})" for name, needed in most.items() if needed > memory]
    if not above:
        return []
    return [
        f"the memory limit of {size(memory)} is below what one item is expected to need of {', '.join(above)}:"
        " such an item runs alone, and may run out of memory"
    ]
