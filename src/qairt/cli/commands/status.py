"""`qairt status`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from qairt.cli.console import emit, emit_json, styled, table
from qairt.cli.find_run import cache_dir_of, command, name_of, start_time, state_folders
from qairt.cli.options import CacheDir, HiddenRecipe, Json, RecipeOfCache

if TYPE_CHECKING:
    from qairt.engine.record.eta import Eta
    from qairt.engine.record.folder import RunFolder
    from qairt.engine.record.summary import RunSummary

_LATEST = 5


def status(
    recipe: RecipeOfCache = None,
    *,
    recipe_option: HiddenRecipe = None,
    cache_dir: CacheDir = None,
    as_json: Json = False,
) -> None:
    """List active runs, and how the latest ones ended.

    Without a recipe, those of every folder in which you have run something on this machine, as in `qairt tui`.

    \b
    Examples:
      qairt status
      qairt status recipe.yaml --json
    """
    import time

    from qairt.engine.record.folder import run_folders
    from qairt.engine.record.summary import read_summary

    folders = [folder for cache in _caches(recipe or recipe_option, cache_dir) for folder in run_folders(cache)]
    folders.sort(key=start_time, reverse=True)
    active = [folder for folder in folders if folder.liveness() == "running"]
    listed = [*active, *[folder for folder in folders if folder not in active][:_LATEST]]
    now = time.time()
    runs = [(folder, read_summary(folder)) for folder in listed]
    left = {folder.path: _left(folder, now) for folder in active}
    if as_json:
        emit_json({"runs": [_as_data(folder, run, left.get(folder.path)) for folder, run in runs]})
        return
    if not runs:
        emit("Nothing has run here yet.")
        return
    rows = [_row(folder, run, left.get(folder.path), now) for folder, run in runs]
    header = ("run", "state", "items", "took", "left", "started", "recipe", "cache")
    for line in table(rows, header=header, right=(3, 4)):
        emit(line)
    for folder, run in runs:
        for line in _about_process(folder, run):
            emit(line)
    if any(_is_elsewhere(folder) for folder, _ in runs):
        emit("")
        emit("A run of another folder: qairt logs RUN --cache-dir CACHE")


def _is_elsewhere(folder: RunFolder) -> bool:
    """Whether `qairt logs RUN`, started here, would not find it."""
    from qairt.cli.find_cache_dir import caches_here

    return cache_dir_of(folder).resolve() not in {cache.resolve() for cache in caches_here()}


def _about_process(folder: RunFolder, run: RunSummary) -> list[str]:
    """Where an active run's process is, and what can be done with it."""
    if run.state == "running":
        return [
            "",
            f"{styled(name_of(folder), 'bold')} is running on {run.host}, process {run.pid}",
            *(f"  {line}" for line in _silent_items(folder)),
            f"  attach: {command('attach', folder)}",
            f"  follow: {command('logs', folder, '-f')}",
            f"  cancel: {command('cancel', folder)}",
        ]
    if run.state == "unknown" and run.host:
        return ["", f"{name_of(folder)}: no sign of life lately; it was started on {run.host}"]
    return []


def _silent_items(folder: RunFolder) -> list[str]:
    """The items of an active run that are stopped, or of which nothing was heard for long."""
    from qairt.engine.record.events import ItemQuiet
    from qairt.engine.record.sentences import quiet
    from qairt.engine.record.summary import read_state

    return [
        quiet(ItemQuiet(stage=item.stage, label=item.label, seconds=item.quiet_seconds, stopped_pid=item.stopped_pid))
        for item in read_state(folder, "running").items.values()
        if item.status == "quiet"
    ]


def _caches(recipe: str | None, cache_dir: Path | None) -> list[Path]:
    """`pipeline_state/` of the caches that are meant; without a recipe, of those here and all that are remembered."""
    from qairt.cli.find_cache_dir import caches_here
    from qairt.engine.cache.manifest import STATE_FOLDER
    from qairt.engine.record.known_caches import known_state_folders

    if recipe is not None or cache_dir is not None:
        return state_folders(recipe, cache_dir)
    here = [folder.absolute() / STATE_FOLDER for folder in caches_here()]
    return list({folder.resolve(): folder for folder in [*known_state_folders(), *here]}.values())


def _row(folder: RunFolder, run: RunSummary, left: Eta | None, now: float) -> tuple[str, ...]:
    from pathlib import PurePath

    from qairt.amounts import age, duration
    from qairt.cli.text.place import shown
    from qairt.engine.record.eta import in_words

    took = now - run.started if run.state == "running" and run.started else run.seconds
    started = f"{age(now - run.started)} ago" if run.started else "-"
    return (
        name_of(folder),
        run.state,
        f"{run.made} of {run.items}" if run.items else "-",
        duration(max(took, 0.0)),
        in_words(left) if left else "-",
        started,
        PurePath(run.recipe).name or "-",
        shown(cache_dir_of(folder).absolute()),
    )


def _left(folder: RunFolder, now: float) -> Eta | None:
    """How long an active run still takes; None before it has planned."""
    from qairt.engine.record.eta import remaining
    from qairt.engine.record.summary import read_state

    state = read_state(folder, "running")
    return remaining(state, now) if state.items else None


def _as_data(folder: RunFolder, run: RunSummary, left: Eta | None) -> dict[str, object]:
    from dataclasses import asdict

    data = run.model_dump(exclude={"stages", "events_bytes"})
    silent = _silent_items(folder) if run.state == "running" else []
    left_seconds = left.seconds if left else None
    own = {"made": run.made, "left_seconds": left_seconds, "left": asdict(left) if left else None}
    return data | own | {"cache_dir": str(cache_dir_of(folder).absolute()), "silent": silent}
