"""`qairt status`: which runs go on now, and how the latest ones ended."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from qairt.cli.console import say, say_json, styled, table
from qairt.cli.find_run import RecipeOption, began, cache_dir_of, command, name_of, state_folders
from qairt.cli.options import CacheDir, Json

if TYPE_CHECKING:
    from qairt.engine.record.folder import RunFolder
    from qairt.engine.record.summary import RunSummary

_LATEST = 5


def status(recipe: RecipeOption = None, cache_dir: CacheDir = None, as_json: Json = False) -> None:
    """Say which runs are going and how the latest ended.

    Looks at all cache directories below qairt-cache/, or at that of --recipe or --cache-dir.

    \b
    Examples:
      qairt status
      qairt status --json -r recipe.yaml
    """
    import time

    from qairt.engine.record.folder import run_folders
    from qairt.engine.record.summary import read_summary

    folders = [folder for place in state_folders(recipe, cache_dir) for folder in run_folders(place)]
    folders.sort(key=began, reverse=True)
    going = [folder for folder in folders if folder.liveness() == "running"]
    shown = [*going, *[folder for folder in folders if folder not in going][:_LATEST]]
    now = time.time()
    runs = [(folder, read_summary(folder)) for folder in shown]
    left = {folder.path: _left(folder, now) for folder in going}
    if as_json:
        say_json({"runs": [_as_data(folder, run, left.get(folder.path)) for folder, run in runs]})
        return
    if not runs:
        say("Nothing was run here yet.")
        return
    rows = [_row(name_of(folder), run, left.get(folder.path), now) for folder, run in runs]
    for line in table(rows, header=("run", "state", "items", "took", "left", "started", "recipe"), right=(3, 4)):
        say(line)
    for folder, run in runs:
        if run.state == "running":
            say()
            say(f"{styled(name_of(folder), 'bold')} runs on {_plain(run.host)}, process {run.pid}")
            say(f"  attach: {command('attach', folder)}")
            say(f"  follow: {command('logs', folder, '-f')}")
            say(f"  end it: {command('cancel', folder)}")
        elif run.state == "unknown" and run.host:
            say()
            say(f"{name_of(folder)}: nothing was heard of it lately; it was started on {_plain(run.host)}")


def _row(name: str, run: RunSummary, left: float | None, now: float) -> tuple[str, ...]:
    from pathlib import PurePath

    from qairt.amounts import about, age, duration

    took = now - run.started if run.state == "running" and run.started else run.seconds
    started = f"{age(now - run.started)} ago" if run.started else "-"
    return (
        name,
        run.state,
        f"{run.made} of {run.items}" if run.items else "-",
        duration(max(took, 0.0)),
        about(left) if left else "-",
        started,
        _plain(PurePath(run.recipe).name) or "-",
    )


def _left(folder: RunFolder, now: float) -> float | None:
    """Seconds that a live run still takes; None before it knows what there is to do."""
    from qairt.engine.record.eta import remaining
    from qairt.engine.record.summary import read_state

    state = read_state(folder, "running")
    return remaining(state, now).seconds if state.items else None


def _as_data(folder: RunFolder, run: RunSummary, left: float | None) -> dict[str, Any]:
    data = run.model_dump(exclude={"stages", "events_bytes"})
    return data | {"made": run.made, "left_seconds": left, "cache_dir": str(cache_dir_of(folder).absolute())}


def _plain(text: str) -> str:
    return "".join(char for char in text if char.isprintable())
