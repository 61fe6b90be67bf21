"""Gathering a report's facts from what the latest run left: its events, its recipe, the cache and measurements."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping
from pathlib import PurePath
from typing import TYPE_CHECKING

from qairt import keys
from qairt.amounts import size
from qairt.engine.cache.cache import StageCache
from qairt.engine.cache.entry import Entry
from qairt.engine.libraries import made_with_by_stage
from qairt.engine.record.folder import RunFolder
from qairt.engine.record.state import RunState
from qairt.engine.record.summary import RunSummary, read_summary
from qairt.engine.record.sweeps import sweep_of, sweep_table
from qairt.engine.run.history import tools_of_run
from qairt.evaluate.record import recipe_of
from qairt.report import remarks
from qairt.report.adapters import adapters_of
from qairt.report.artifacts import bundle_of, sizes_of
from qairt.report.facts import Failure, RunReport
from qairt.report.fidelity import fidelity_of
from qairt.report.quality import scores_of
from qairt.report.recorded import RecordedRun, latest_runs
from qairt.report.speed import speed_of
from qairt.report.stages import outputs_of, reasons_of, stage_line
from qairt.report.timeline import timeline_of
from qairt.results.pictures import Drawn

if TYPE_CHECKING:
    from qairt.results.estimate import AtMost


def gather(
    cache: StageCache,
    recipe: str,
    recipe_now: Mapping[str, object] | None = None,
    *,
    at_most: AtMost | None = None,
    draw: Callable[[Mapping[tuple[str, str], str]], Drawn] = lambda items: Drawn(),
) -> RunReport:
    """The facts of the latest run in a cache directory; nothing is changed or computed again.

    Args:
        recipe: its arguments on the command line, for remedies.
        recipe_now: its settings now; the first difference from the run's is noted.
        at_most: what the chip of the recipe as it is now could do; left out if the run had other settings.
        draw: draws pictures of the run's items, which it gets as keys by stage and label.

    Raises:
        CacheError: there is no run yet.
    """
    latest, builder = latest_runs(cache.cache_dir, recipe)
    changes = latest.changes(recipe_now)
    state, summary = latest.state, read_summary(latest.folder)
    entries, metrics = latest.entries(cache), cache.read_metrics()
    adapters = adapters_of(entries)
    fidelity = fidelity_of(cache, state, latest.settings, adapters)
    scores = scores_of(cache.cache_dir, state, latest.model, adapters)
    drawn = draw({(item.stage, item.label): item.key for item in state.items.values()})
    return RunReport(
        run=summary,
        model=_model_name(latest.model),
        recipe_name=PurePath(summary.recipe or recipe).name,
        recipe_text=latest.recipe_text,
        recipe_digest=keys.digest(recipe_of(latest.recipe)) if latest.recipe else "",
        created_at=time.time(),
        missing=[
            *remarks.unfinished(summary, state, recipe),
            *remarks.not_in_run(latest, recipe),
            *remarks.gone(state, entries, recipe),
            *remarks.unmeasured(recipe, has_fidelity=fidelity is not None, has_scores=bool(scores)),
            *drawn.failures,
        ],
        notes=remarks.notes(latest, builder, changes),
        failures=_failures(state),
        stages=[stage_line(name, state, entries, metrics) for name in state.stages()],
        reasons=reasons_of(state),
        timeline=timeline_of(builder.state, builder.samples, is_earlier=builder is not latest),
        sizes=sizes_of(entries, latest.model),
        fidelity=fidelity,
        scores=scores,
        speed=speed_of(entries),
        at_most=at_most if not changes else None,
        outputs=outputs_of(state, cache.cache_dir),
        drawn=drawn.stages,
        bundle=bundle_of(entries),
        tools=tools_of_run(latest.folder),
        sweep=_sweep(latest.folder),
        machine=[*_machine(latest, summary), *_made_with(entries.values())],
    )


def _failures(state: RunState) -> list[Failure]:
    return [
        *(_failure(item.name, item.error) for item in state.items.values() if item.status == "failed"),
        *(
            _failure(f"{output.stage} {output.kind}", output.error)
            for output in state.outputs.values()
            if output.status == "failed"
        ),
    ]


def _failure(name: str, error: Mapping[str, object] | None) -> Failure:
    error = error or {}
    tail = error.get("log_tail")
    return Failure(
        item=name,
        what=str(error.get("what") or "it failed"),
        remedy=str(error.get("remedy") or ""),
        log_tail=[str(line) for line in tail][-6:] if isinstance(tail, list) else [],
    )


def _machine(latest: RecordedRun, summary: RunSummary) -> list[tuple[str, str]]:
    state, host = latest.state, latest.folder.host()
    facts = (
        ("Machine", summary.host),
        ("Cores", f"{state.cores}" if state.cores else ""),
        ("RAM", size(state.ram) if state.ram else ""),
        ("Concurrent items", str(state.jobs) if state.jobs else ""),
        ("qairt", host.version if host else ""),
    )
    return [(name, value) for name, value in facts if value]


def _made_with(entries: Iterable[Entry]) -> list[tuple[str, str]]:
    return [(f"Made with ({stages})", text) for stages, text in made_with_by_stage(entries)]


def _sweep(run: RunFolder) -> tuple[list[str], list[list[str]]] | None:
    found = sweep_of(run.path.parents[1], [run.id])
    return sweep_table(found) if found is not None else None


def _model_name(source: str) -> str:
    """`SmolLM2-135M-Instruct.Q4_1`, from a path or an id on the hub."""
    return PurePath(source).name.removesuffix(".gguf") or "an external graph"
