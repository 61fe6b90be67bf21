"""What a run tells about its finished items."""

from __future__ import annotations

from qairt.engine.plan.planned import Plan, PlannedItem
from qairt.engine.record import events as ev
from qairt.engine.run.inputs import ItemInputs
from qairt.engine.run.stream import EventStream
from qairt.engine.stage import Stage


def emit_remarks(plan: Plan, inputs: ItemInputs, stream: EventStream) -> None:
    """Emit the remarks of every stage of a finished plan, in order."""
    for planned in plan.stages:
        if type(planned.stage).remarks is not Stage.remarks:
            for remark in planned.stage.remarks({item.coord: inputs.handle(item) for item in planned.items}):
                stream.emit(ev.LogLine(level="warning", message=remark))


def emit_difference(item: PlannedItem, stream: EventStream) -> None:
    """Say so if a rebuilt item is not what it was before its files were let go."""
    before = item.released
    differs = before.differs_from(item.entry) if before is not None and item.entry is not None else None
    if differs is not None:
        message = (
            f"{item.name} was rebuilt, and its {differs} is not what it was before it was released: what was made from"
            f" it then stays as it is; to build that again too, clear it: qairt cache clear {item.stage.name} --after"
        )
        stream.emit(ev.LogLine(level="warning", message=message))
