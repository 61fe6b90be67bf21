"""A plan in the form of events."""

from __future__ import annotations

from qairt.engine.plan.planned import Plan
from qairt.engine.record.events import PlannedEntry


def planned_entries(plan: Plan) -> list[PlannedEntry]:
    """Every item of the plan, in order."""
    return [
        PlannedEntry(
            stage=item.stage.name,
            label=item.label,
            coord=item.coord,
            key=item.key,
            cached=item.cached,
            on_demand=item.on_demand,
            stale=item.stale,
            cleared=item.cleared or 0.0,
            stored=item.stored is not None,
            reason=item.why,
            sources=tuple(source.name for source in item.waits_for),
            seconds=item.seconds,
            seconds_low=0.0 if item.stored else item.expected.low,
            seconds_high=0.0 if item.stored else item.expected.high,
            samples=0 if item.stored else item.expected.samples,
            peak_ram=item.peak_ram,
            bytes=item.bytes,
            size=item.entry.bytes if item.entry else 0,
            from_history=item.from_history,
        )
        for item in plan.items
    ]
