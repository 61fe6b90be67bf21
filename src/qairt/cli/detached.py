"""Starting a run in the background."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from qairt.cli.console import emit, emit_json
from qairt.cli.find_run import how_to_return

if TYPE_CHECKING:
    from qairt.engine.run.options import RunOptions


def start_detached(
    recipe: str, overrides: Sequence[str], cache_dir: Path | None, options: RunOptions, *, as_json: bool
) -> None:
    """Start the run, and print how to return to it."""
    from qairt.cli.find_recipe import open_pipeline
    from qairt.project import Project
    from qairt.recipe.find import find_recipe

    path = find_recipe(recipe)
    pipeline = open_pipeline(recipe, overrides, cache_dir)
    pipeline.check()
    project = Project(
        recipe=path,
        overrides=tuple(overrides),
        open_pipeline=lambda: pipeline,
        cache_dir=pipeline.cache_dir,
        options=options,
        cache_option=cache_dir,
    )
    run = project.start_in_background(options)
    if as_json:
        host = run.host()
        emit_json({"run": run.id, "pid": host.pid if host else None, "folder": str(run.path)})
        return
    for line in how_to_return(run):
        emit(line)
