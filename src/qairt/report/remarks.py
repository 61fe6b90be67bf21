"""What a run lacks, how to get it, and other remarks; one sentence each."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence

from qairt.amounts import count, duration
from qairt.engine.cache.entry import Entry
from qairt.engine.record.item_state import MADE
from qairt.engine.record.state import RunState
from qairt.engine.record.summary import RunSummary
from qairt.report.recorded import RecordedRun


def unfinished(summary: RunSummary, state: RunState, recipe: str) -> list[str]:
    """How a run ended, unless it is done."""
    pending = state.count("waiting", "ready", "running", "quiet", "shared", "blocked", "cancelled", "interrupted")
    rest = f"{count(pending, 'item')} of {len(state.items)} not built" if pending else "every item was built"
    resume = f"Resume it with: qairt run {recipe}"
    match summary.state:
        case "running":
            return [f"Run {summary.id} is still running: {rest} yet. The report shows its state when it was written."]
        case "failed":
            items = state.count("failed")
            if not items and not pending:
                outputs = count(len(summary.failed), "report")
                return [f"Run {summary.id} built every item, but {outputs} could not be written: see below."]
            what = f"{count(items, 'item')} failed" if items else summary.failure or "it could not start"
            failed = what + (f", {rest}" if pending else "")
            return [f"Run {summary.id} failed after {duration(summary.seconds)}: {failed}. {resume}"]
        case "interrupted":
            return [f"Run {summary.id} was interrupted after {duration(summary.seconds)}: {rest}. {resume}"]
        case "unknown":
            return [f"How run {summary.id} ended is unknown ({rest}): its last event came from {summary.host or '?'}."]
        case _:
            return []


def not_in_run(latest: RecordedRun, recipe: str) -> list[str]:
    """Stages of the recipe that the run did not include."""
    left = [name for name in latest.configured_stages if name not in latest.state.stages()]
    return [f"This run did not include {', '.join(left)}: qairt run {recipe}"] if left else []


def gone(state: RunState, entries: Mapping[tuple[str, str], Entry], recipe: str) -> list[str]:
    """Stages whose results are no longer in the cache."""
    sentences = []
    for name in state.stages():
        built = [item for item in state.items.values() if item.stage == name and item.status in MADE - {"on_demand"}]
        missing = [item for item in built if (item.stage, item.label) not in entries]
        if missing:
            items = f"{len(missing)} of {count(len(built), 'result')} of {name}"
            verb = "is" if len(missing) == 1 else "are"
            sentences.append(f"{items} {verb} no longer in the cache: qairt run {recipe}")
    return sentences


def unmeasured(recipe: str, *, has_fidelity: bool, has_scores: bool) -> list[str]:
    """Measurements that were not made."""
    sentences = []
    if not has_fidelity:
        sentences.append(f"The stages were not compared with the float model: qairt verify {recipe}")
    if not has_scores:
        sentences.append(f"The quality of the quantized model was not measured: qairt evaluate {recipe}")
    return sentences


def notes(latest: RecordedRun, builder: RecordedRun, changes: Sequence[tuple[str, object, object]]) -> list[str]:
    """Other remarks on the latest run.

    Args:
        builder: the run whose timeline is shown.
        changes: of the recipe since the run; the first is noted.
    """
    sentences = []
    if latest.already_quantized:
        sentences.append(
            f"The model's weights were already quantized ({latest.already_quantized}); errors are measured from these"
            " weights, not from the model they were made from."
        )
    if latest.unreadable_events:
        sentences.append(
            f"{count(latest.unreadable_events, 'record')} of the run's events could not be read and"
            f" {'is' if latest.unreadable_events == 1 else 'are'} left out."
        )
    if builder is not latest and builder.built_something:
        sentences.append(
            f"Run {latest.folder.id} built nothing; the timeline shows run {builder.folder.id}, which did."
        )
    if changes:
        path, old, new = changes[0]
        more = f" and {count(len(changes) - 1, 'more setting')}" if len(changes) > 1 else ""
        sentences.append(f"The recipe has changed since this run: {path} {_short(old)} → {_short(new)}{more}.")
    sentences += [line.message for line in latest.state.log if line.level != "info"]
    return sentences


def _short(value: object) -> str:
    text = "nothing" if value is None else value if isinstance(value, str) else json.dumps(value, default=str)
    return text if len(text) <= 40 else text[:39] + "…"
