"""The one command that comes next, ready to be pasted."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import TYPE_CHECKING

from qairt.cli.console import emit, is_terminal

if TYPE_CHECKING:
    from qairt.engine.pipeline import Pipeline
    from qairt.engine.plan.planned import Plan

_USABLE_AFTER = "export_bundle"
_PROMPT = "Name three rivers in Europe."


def tell_next(verb: str, pipeline: Pipeline, cache_dir: Path | None = None, *, when: str = "") -> None:
    """Print `Next: qairt run recipe.yaml` to a person; scripts read only the result.

    Args:
        when: a condition, added to the sentence.
    """
    if is_terminal():
        emit(next_line(verb, pipeline, cache_dir) + (f", {when}" if when else ""))


def after_plan(plan: Plan) -> str:
    """The verb that follows a plan or a check: the run, or what a finished one is good for."""
    return "run" if plan.to_run() else after_run(plan)


def after_run(plan: Plan) -> str:
    """The verb that follows a finished run: it can answer prompts once its bundle is there."""
    return "generate" if plan.stages[-1].stage.name == _USABLE_AFTER else "report"


def next_line(verb: str, pipeline: Pipeline, cache_dir: Path | None = None) -> str:
    """`Next: qairt run recipe.yaml`, with the recipe's overrides."""
    words = [_PROMPT] if verb == "generate" else []
    cache = ["--cache-dir", str(cache_dir)] if cache_dir is not None else []
    return f"Next: {shlex.join(['qairt', verb, _recipe(pipeline), *words, *pipeline.recipe.overrides, *cache])}"


def _recipe(pipeline: Pipeline) -> str:
    """As it can be given from the working directory: a path, or the name of one that comes with qairt."""
    from qairt.cli.text.place import shown
    from qairt.recipe.find import shipped_by_name

    source = Path(pipeline.recipe.source or "recipe.yaml").absolute()
    name = next((name for name, path in shipped_by_name().items() if path.absolute() == source), None)
    return name or shown(source)
