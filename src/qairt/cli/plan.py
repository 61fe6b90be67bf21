"""`qairt plan`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from qairt.cli.amounts import about, count, size
from qairt.cli.console import say, say_json, styled, table
from qairt.cli.options import CacheDir, Json, Overrides, Recipe
from qairt.cli.run import Force, Jobs, Until

if TYPE_CHECKING:
    from qairt.engine.pipeline import Pipeline
    from qairt.engine.plan import Plan, PlannedItem, StagePlan


def plan(
    recipe: Recipe,
    overrides: Overrides = None,
    until: Until = None,
    force: Force = None,
    jobs: Jobs = None,
    cache_dir: CacheDir = None,
    as_json: Json = False,
    brief: Annotated[bool, typer.Option("--brief", help="Leave out the list of items.")] = False,
) -> None:
    """Show what a run would do, what it costs, and why each item runs. Reads no weights and starts no compiler.

    Sizes, times and memory come from earlier runs where there are any; those with ~ are estimates.

    \b
    Examples:
      qairt plan recipes/smollm2-135m.yaml
      qairt plan recipe.yaml stages.split_model.num_splits=3
      qairt plan recipe.yaml --json | jq '.stages[] | {name, artifacts}'
    """
    from qairt.cli.recipe_argument import open_pipeline

    pipeline = open_pipeline(recipe, overrides, cache_dir)
    from qairt.engine.machine import available_cores
    from qairt.engine.run import RunOptions

    made = pipeline.plan(RunOptions(memory=0, until=until, force=frozenset(force or ())))
    if as_json:
        say_json(made.as_dict())
        return
    show(made, pipeline, jobs=jobs or available_cores(), brief=brief)


def show(made: Plan, pipeline: Pipeline, *, jobs: int, brief: bool) -> None:
    """Print the table of stages, then every item that runs with its reason."""
    from qairt.cli.failures import tell_note

    for note in pipeline.notes:
        tell_note(note)
    for line in stage_table(made):
        say(line)
    say()
    to_run = made.to_run()
    if not to_run:
        say(f"Nothing to run: {count(sum(1 for _ in made.items), 'item')}, all cached.")
        return
    say(styled(_summary(to_run, jobs), "bold"))
    if not brief:
        for line in reasons(to_run):
            say(line)


def stage_table(made: Plan) -> list[str]:
    """One line for each stage; time and RAM are those of the items that run."""
    rows = [_row(stage) for stage in made.stages]
    items, to_run = list(made.items), made.to_run()
    rows.append(
        (
            "total",
            str(len(items)),
            str(len(to_run)),
            _marked(size(sum(item.bytes for item in items)), items),
            _marked(about(sum(item.seconds for item in to_run)), to_run) if to_run else "",
            _marked(size(max(item.peak_ram for item in to_run)), to_run) if to_run else "",
            "",
        )
    )
    header = ("stage", "items", "to run", "size", "time", "peak RAM", "makes")
    return table(rows, header=header, right=(1, 2, 3, 4, 5))


def _row(stage: StagePlan) -> tuple[str, ...]:
    to_run = [item for item in stage.items if not item.cached]
    return (
        stage.stage.name,
        str(len(stage.items)),
        str(len(to_run)),
        _marked(size(sum(item.bytes for item in stage.items)), stage.items),
        _marked(about(sum(item.seconds for item in to_run)), to_run) if to_run else "",
        _marked(size(max(item.peak_ram for item in to_run)), to_run) if to_run else "",
        ", ".join(f"{number} {kind}" for kind, number in stage.artifacts.items()),
    )


def _marked(text: str, items: list[PlannedItem]) -> str:
    """With `~` where one of the items never ran."""
    return text if all(item.cached or item.from_history for item in items) else f"~{text}"


def _summary(to_run: list[PlannedItem], jobs: int) -> str:
    from qairt.cli.eta import wall_seconds

    wall = wall_seconds(((item.stage.name, item.seconds) for item in to_run), jobs=jobs)
    return f"{count(len(to_run), 'item')} to run, about {_marked(about(wall), to_run)} with {jobs} at once:"


def reasons(to_run: list[PlannedItem]) -> list[str]:
    """Every item that runs: how long it takes, and why it is not reused."""
    rows = [
        (f"  {item.stage.name}", item.label, _marked(about(item.seconds), [item]), _marked(size(item.peak_ram), [item]))
        + (item.reason,)
        for item in to_run
    ]
    return table(rows, header=("  stage", "item", "time", "RAM", "why it runs"), right=(2, 3))
