"""When items ran, and what the process tree used meanwhile."""

from __future__ import annotations

from collections.abc import Sequence

from qairt.engine.record import events as ev
from qairt.engine.record.state import RunState
from qairt.report.facts import Lane, Moment, Timeline

POINTS = 240
"""Points of a curve at most: more cannot be distinguished on a page."""


def timeline_of(state: RunState, samples: Sequence[ev.ResourceSample], *, is_earlier: bool) -> Timeline | None:
    """The timeline of a run; None if it built nothing."""
    began = state.started
    lanes = [
        Lane(
            stage=item.stage,
            label=item.label,
            start=max(item.started - began, 0.0),
            end=max((item.ended if item.ended is not None and item.ended >= item.started else state.now) - began, 0.0),
            status=item.status,
        )
        for item in state.items.values()
        if item.started is not None
    ]
    if not lanes:
        return None
    seconds = max(state.seconds, state.now - began, *(lane.end for lane in lanes))
    totals = [sample.gpu_memory_total for sample in samples if sample.gpu_memory_total]
    return Timeline(
        run_id=state.run_id,
        seconds=seconds,
        cores=state.cores,
        lanes=lanes,
        moments=_downsampled(samples, began),
        gpu_total=max(totals) if totals else None,
        is_earlier=is_earlier,
    )


def _downsampled(samples: Sequence[ev.ResourceSample], began: float) -> list[Moment]:
    """Downsampled samples; peaks are kept."""
    step = max(-(-len(samples) // POINTS), 1)
    moments = []
    for start in range(0, len(samples), step):
        group = samples[start : start + step]
        gpu = [sample.gpu_memory for sample in group if sample.gpu_memory is not None]
        moments.append(
            Moment(
                second=max(group[0].time - began, 0.0),
                ram=max(sample.ram for sample in group),
                cpu_percent=sum(sample.cpu_percent for sample in group) / len(group),
                gpu_memory=max(gpu) if gpu else None,
            )
        )
    return moments
