"""A report as the templates take it: every number formatted, every chart drawn."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import TYPE_CHECKING

from markupsafe import Markup

from qairt.amounts import count, duration, size
from qairt.recipe.configs import BASE
from qairt.report import format as fmt
from qairt.report.charts import bar, curve, lane
from qairt.report.facts import Lane, Moment, RunReport, Score, Timeline
from qairt.report.quality import change_of
from qairt.runtime.metrics import MAX_DB
from qairt.verify.result import PartFidelity

if TYPE_CHECKING:
    from qairt.results.estimate import AtMost

_LAYERS = 16
"""Layers shown, most expensive first."""
_EQUAL_DB = 130.0
"""The longest bar of the ladder: the limit of float32."""
_BLOCKS = 24
"""Width of a bar in Markdown."""
_STATES = {
    "done": "done",
    "failed": "failed",
    "interrupted": "interrupted",
    "running": "running",
    "unknown": "unknown",
}
_TARGETS = {"quantsim": "simulated", "cpu": "quantized graphs", "device": "on a device", "ssh": "on a device"}


@dataclass(frozen=True)
class Bar:
    """One row of a bar chart."""

    name: str
    value: str
    note: str
    picture: Markup
    blocks: str
    """The bar as text."""


@dataclass(frozen=True)
class Curve:
    """One quantity over time."""

    title: str
    top: str
    """The value at the upper edge; the lower edge is 0."""
    summary: str
    picture: Markup


@dataclass(frozen=True)
class TimelineRow:
    """One item of the timeline."""

    label: str
    took: str
    start: str
    status: str
    picture: Markup


def page_of(report: RunReport) -> dict[str, object]:
    """The variables of the templates."""
    timeline = report.timeline
    return {
        "report": report,
        "fmt": fmt,
        "state": _STATES[report.run.state],
        "key_numbers": _key_numbers(report),
        "lanes": _lanes(timeline) if timeline else [],
        "curves": _curves(timeline) if timeline else [],
        "ends": [duration(timeline.seconds * share) for share in (0, 0.5, 1)] if timeline else [],
        "known": {
            name: any(getattr(stage.usage, name) for stage in report.stages)
            for name in ("cpu_seconds", "bytes_read", "bytes_written")
        },
        "sizes": _sizes(report),
        "ladder": _ladder(report),
        "rungs": _rungs(report),
        "layers": _layers(report),
        "scores": [_score_rows(score) for score in report.scores],
        "operators": _operators(report),
        "bundle_bytes": sum(file.bytes for file in report.bundle),
    }


def _key_numbers(report: RunReport) -> list[tuple[str, str, str]]:
    """Name, value and remark of each key figure."""
    run = report.run
    found = [("Took", duration(run.seconds), f"{run.made} of {count(run.items, 'item')} done")]
    share = run.cached_share
    if share:
        found.append(("Reused", f"{share:.0%}", f"{run.counts.get('cached', 0)} of {count(run.items, 'item')}"))
    if run.peak_ram:
        found.append(("Peak RAM", size(run.peak_ram), "all processes"))
    by_stage = {each.stage: each.bytes for each in report.sizes if each.stage}
    last = next((name for name in ("generate_context_binary", "quantize") if name in by_stage), None)
    in_float = _float_bytes(report)
    if last is not None and in_float:
        small = [each.bytes for each in report.sizes if each.stage == last][-1]
        what = "context binaries" if last == "generate_context_binary" else "quantized graphs"
        found.append(("Size", size(small), f"{what}, from {size(in_float)} in float"))
    return [*found, *quality_numbers(report)]


def quality_numbers(report: RunReport) -> list[tuple[str, str, str]]:
    """The same for how good the model is, as far as it was measured, and how fast its chip could be at best."""
    found: list[tuple[str, str, str]] = []
    if report.at_most is not None:
        found += _ceiling(report.at_most)
    for score in report.scores:
        if score.title.startswith("perplexity") and score.scores and score.concurrency == BASE:
            target, value = list(score.scores.items())[-1]
            change = change_of(score, value)
            about = f"{fmt.change(change)} against float" if change is not None else _TARGETS.get(target, target)
            found.append(("Perplexity", fmt.score(value), about))
            break
    if report.fidelity:
        below, differing = report.fidelity.first_below, report.fidelity.first_differing
        if below:
            about = f"{below.name}, part {below.part}, is below its threshold"
        elif differing:
            about = f"{differing.name} generates other tokens than the CPU"
        elif astray := report.fidelity.first_astray:
            about = f"{astray.name} makes other vectors than the CPU"
        elif far := report.fidelity.first_far:
            about = f"{far.name}: top-1 agreement {far.top1:.1%}, KL {far.kl:.2g}"
        elif report.fidelity.is_quantized:
            about = "no part below its threshold"
        else:
            about = "no part below its threshold; the quantized parts were not compared"
        known = report.fidelity.verdict != "good" or report.fidelity.is_quantized
        found.append(("Fidelity", report.fidelity.verdict if known else "good in float", about))
    return found


def _ceiling(found: AtMost) -> Iterator[tuple[str, str, str]]:
    shortest = found.chip.ceilings[0]
    if shortest.decode is not None:
        where = f"{found.chip.soc.name} at context length {shortest.cl:,}"
        yield "At most", f"{fmt.rate(shortest.decode)} tokens/s", f"{where}: a token reads {size(shortest.call_bytes)}"
    for obstacle in found.chip.obstacles:
        yield "Does not fit", found.chip.soc.name, obstacle


# Over time


def _lanes(timeline: Timeline) -> list[tuple[str, list[TimelineRow]]]:
    rows = []
    for stage, found in groupby(sorted(timeline.lanes, key=_in_order(timeline.lanes)), lambda each: each.stage):
        rows.append((stage, [_timeline_row(each, timeline.seconds) for each in found]))
    return rows


def _in_order(lanes: Sequence[Lane]) -> Callable[[Lane], tuple[int, float]]:
    """Sorts stages in the run's order, and the items of each by their start."""
    order = {name: index for index, name in enumerate(dict.fromkeys(each.stage for each in lanes))}
    return lambda each: (order[each.stage], each.start)


def _timeline_row(each: Lane, seconds: float) -> TimelineRow:
    whole = seconds or 1.0
    status = {"warn": "done", "quiet": "running"}.get(each.status, each.status)
    took = duration(each.end - each.start)
    label = f"{each.stage} {each.label}: from {duration(each.start)} to {duration(each.end)}, {status}"
    return TimelineRow(
        label=each.label,
        took=took,
        start=duration(each.start),
        status=status,
        picture=lane(each.start / whole, each.end / whole, label, status),
    )


def _curves(timeline: Timeline) -> list[Curve]:
    moments = timeline.moments
    if len(moments) < 2:
        return []
    found = [_curve("RAM", timeline, [(each, float(each.ram)) for each in moments], size, "ram")]
    most = 100.0 * timeline.cores if timeline.cores else 0.0
    busy = [(each, each.cpu_percent) for each in moments]
    found.append(_curve("Processor", timeline, busy, "{:.0f} % of one core".format, "cpu", most))
    gpu = [(each, float(each.gpu_memory)) for each in moments if each.gpu_memory is not None]
    if len(gpu) > 1 and any(value for _, value in gpu):
        found.append(_curve("GPU memory", timeline, gpu, size, "gpu"))
    return found


def _curve(
    title: str,
    timeline: Timeline,
    values: Sequence[tuple[Moment, float]],
    text: Callable[[float], str],
    kind: str,
    most: float = 0.0,
) -> Curve:
    peak_at, peak = max(values, key=lambda each: each[1])
    top = most or peak or 1.0
    summary = f"{title}: peak {text(peak)} after {duration(peak_at.second)}, {text(values[-1][1])} at the end"
    points = [(each.second / (timeline.seconds or 1.0), value / top) for each, value in values]
    return Curve(title, text(top), summary, curve(points, summary, kind))


# Bars


def _bars(
    rows: Sequence[tuple[str, float, str, str]], kind: str, *, full: float = 0.0, low: Collection[str] = ()
) -> list[Bar]:
    """Bars of (name, number, its text, note).

    Args:
        full: the number that fills the row; the largest one when 0.
        low: names of bars to highlight.
    """
    most = full or max((number for _, number, _, _ in rows), default=0.0) or 1.0
    return [
        Bar(
            name,
            text,
            note,
            bar(number / most, f"{name}: {text}", "failed" if name in low else kind),
            "█" * round(_BLOCKS * number / most) or "▏",
        )
        for name, number, text, note in rows
    ]


def _float_bytes(report: RunReport) -> int:
    """Of the float graphs with their weights: of the parts, or of the whole model's where it holds an external graph's;
    0 if neither was made."""
    return max((each.bytes for each in report.sizes if each.stage in ("export", "split_model")), default=0)


def _sizes(report: RunReport) -> list[Bar]:
    whole = _float_bytes(report)
    rows = []
    for each in report.sizes:
        ratio = fmt.ratio(each.bytes, whole)
        note = count(each.files, "file") + ("" if ratio == fmt.NONE else f", {ratio}")
        rows.append((each.what, float(each.bytes), size(each.bytes), note))
    return _bars(rows, "size")


def _ladder(report: RunReport) -> list[Bar]:
    """The worst part of each rung, by its judged value."""
    worst: dict[str, PartFidelity] = {}
    for part in report.fidelity.parts if report.fidelity else ():
        if part.name not in worst or part.judged_db < worst[part.name].judged_db:
            worst[part.name] = part
    rows = [
        (
            rung,
            min(max(part.judged_db, 0.0), _EQUAL_DB),
            fmt.decibel(part.judged_db) + (" dB" if part.judged_db < MAX_DB else ""),
            f"threshold {part.needed_db:.0f}",
        )
        for rung, part in worst.items()
    ]
    return _bars(rows, "rung", low={rung for rung, part in worst.items() if not part.passes})


def _rungs(report: RunReport) -> list[tuple[str, list[PartFidelity]]]:
    parts = report.fidelity.parts if report.fidelity else ()
    return [(rung, list(found)) for rung, found in groupby(parts, lambda part: part.name)]


def _layers(report: RunReport) -> list[Bar]:
    if report.fidelity is None:
        return []
    rows = [
        (
            layer.name,
            max(layer.kl, 0.0),
            f"{layer.kl:.2g} nats",
            f"{fmt.decibel(layer.sqnr_db)} dB, {layer.top1:.1%} top-1",
        )
        for layer in report.fidelity.layers[:_LAYERS]
    ]
    return _bars(rows, "layer")


def _operators(report: RunReport) -> list[tuple[str, list[Bar]]]:
    """The most expensive operators of each phase."""
    if report.speed is None:
        return []
    return [
        (phase, _bars([(name, ms, f"{ms:,.1f} ms", f"{share:.0%}") for name, ms, share in rows], "operator"))
        for phase, rows in report.speed.operators.items()
    ]


def _score_rows(score: Score) -> tuple[Score, list[Bar]]:
    """The float model first, then each target."""
    values = [("float", score.float_score)] if score.float_score is not None else []
    values += [(_TARGETS.get(target, target), value) for target, value in score.scores.items()]
    rows = []
    for name, value in values:
        assert value is not None
        change = change_of(score, value) if name != "float" else None
        rows.append((name, max(value, 0.0), fmt.score(value), fmt.change(change) if change is not None else ""))
    is_share = score.higher_is_better and all(number <= 1 for _, number, _, _ in rows)
    return score, _bars(rows, "score", full=1.0 if is_share else 0.0)
