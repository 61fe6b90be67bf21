"""What can be opened without naming a recipe: runs on this machine, and recipes."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from qairt.engine.record.folder import RunFolder
from qairt.engine.record.known_caches import known_runs
from qairt.engine.record.summary import RunSummary, read_summary
from qairt.files import read_regular
from qairt.recipe.files import CACHES, shipped_recipes

Section = Literal["active", "recipe", "finished"]

_RUNS = 100
"""Finished runs that are listed, the latest ones."""
_IS_RECIPE = re.compile(rb"^(?:model_id_or_path|base)\s*:", re.MULTILINE)


@dataclass(frozen=True)
class Choice:
    """One line: a run, or a recipe with its latest run."""

    section: Section
    recipe: Path
    """Its file; for a run whose recipe is gone, the copy in the run's folder."""
    name: str
    folder: Path
    """Of the recipe; of a run, where it was started: the folder of `qairt-cache/`, else its cache directory."""
    run: RunFolder | None = None
    summary: RunSummary | None = None
    """Of the run, or of the recipe's latest run."""


def find_choices(working_directory: Path) -> list[Choice]:
    """Active runs, recipes (those used last first), finished runs (latest first). Reads files of every run: slow."""
    runs = sorted(_runs(), key=lambda each: each.summary.started or 0.0 if each.summary else 0.0, reverse=True)
    active = [run for run in runs if run.section == "active"]
    finished = [run for run in runs if run.section == "finished"][:_RUNS]
    return [*active, *_recipes(working_directory, runs), *finished]


def _runs() -> Iterator[Choice]:
    for run in known_runs():
        summary = read_summary(run)
        recipe = Path(summary.recipe) if summary.recipe else run.path / "recipe.yaml"
        name = recipe.stem if summary.recipe else "-"
        there = recipe if recipe.is_file() else run.path / "recipe.yaml"
        section: Section = "active" if summary.state == "running" else "finished"
        cache = run.path.parents[2]
        yield Choice(section, there, name, cache.parents[1] if cache.parent.name == CACHES else cache, run, summary)


def _recipes(working_directory: Path, runs: list[Choice]) -> Iterator[Choice]:
    """Recipes of runs first, then those here, then those that come with qairt; each once."""
    latest: dict[Path, RunSummary | None] = {}
    for run in runs:
        if run.summary and run.summary.recipe and Path(run.summary.recipe).is_file():
            latest.setdefault(Path(run.summary.recipe), run.summary)
    for pattern in ("*.yaml", "*.yml", "recipes/*.yaml"):
        for path in sorted(working_directory.glob(pattern)):
            if _is_recipe(path):
                latest.setdefault(path.absolute(), None)
    for path in sorted(shipped_recipes().glob("*.yaml")):
        latest.setdefault(path.absolute(), None)
    for path, summary in latest.items():
        yield Choice("recipe", path, path.stem, path.parent, summary=summary)


def _is_recipe(path: Path) -> bool:
    try:
        return _IS_RECIPE.search(read_regular(path)) is not None
    except OSError:
        return False
