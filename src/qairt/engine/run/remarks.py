"""What a run's stages tell about their finished items when it ends."""

from __future__ import annotations

from qairt.engine.plan.planned import Plan
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
