"""`qairt plan`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from qairt.amounts import about, compact, count, size
from qairt.cli.console import say, say_json, styled, table
from qairt.cli.options import CacheDir, Json, Overrides, Recipe
from qairt.cli.run_options import Force, Jobs, Until

if TYPE_CHECKING:
    from qairt.engine.pipeline import Pipeline
    from qairt.engine.plan.planned import Plan, PlannedItem, StagePlan


def plan(
    recipe: Recipe,
    overrides: Overrides = None,
    until: Until = None,
    force: Force = None,
    jobs: Jobs = None,
    cache_dir: CacheDir = None,
    as_json: Json = False,
    brief: Annotated[bool, typer.Option("--brief", help="Leave out the list of items.")] = False,
    show_config: Annotated[
        bool, typer.Option("--show-config", help="Print the settings as they hold, and where each comes from.")
    ] = False,
) -> None:
    """Show what a run would do, and why each item runs.

    Reads no weights and starts no compiler. Sizes, times and memory come from
    earlier runs where there are any; those with ~ are estimates.

    \b
    Examples:
      qairt plan recipes/smollm2-135m.yaml
      qairt plan recipe.yaml stages.split_model.num_splits=3
      qairt plan recipe.yaml --json | jq '.stages[] | {name, artifacts}'
      qairt plan recipe.yaml --show-config
    """
    from qairt.cli.recipe_argument import open_pipeline

    pipeline = open_pipeline(recipe, overrides, cache_dir)
    if show_config:
        from qairt.cli.text.settings_in_force import show_merged

        show_merged(pipeline, as_json=as_json)
        return
    from qairt.engine.run.options import RunOptions
    from qairt.machine import available_cores

    made = pipeline.plan(RunOptions(memory=0, until=until, force=frozenset(force or ())))
    if as_json:
        say_json(made.as_dict())
        return
    show(made, pipeline, jobs=jobs or available_cores(), brief=brief)


def show(made: Plan, pipeline: Pipeline, *, jobs: int, brief: bool) -> None:
    """Print the table of stages, then every item that runs with its reason."""
    from qairt.cli.failures import tell_note

    for note in (*pipeline.notices, *pipeline.warnings):
        tell_note(note)
    for line in stage_table(made):
        say(line)
    say()
    to_run = made.to_run()
    if to_run:
        say(styled(_summary(made, jobs) + ("." if brief else ":"), "bold"))
    else:
        say(f"Nothing to run: {count(sum(1 for _ in made.items), 'item')}, all cached.")
    if to_run and not brief:
        for line in reasons(to_run):
            say(line)
    if not brief:
        for line in outputs(made):
            say(line)


def stage_table(made: Plan) -> list[str]:
    """One line for each stage; size is that of all its items, time and RAM are those of the items that run."""
    rows = [_row(stage.stage.name, stage.items, _made_by(stage)) for stage in made.stages]
    rows.append(_row("total", list(made.items), ""))
    return table(rows, header=("stage", "to run", "size", "time", "RAM", "makes"), right=(1, 2, 3, 4))


def _row(name: str, items: list[PlannedItem], makes: str) -> tuple[str, ...]:
    to_run = [item for item in items if not item.cached]
    return (
        name,
        f"{len(to_run)}/{len(items)}",
        _marked(size(sum(item.bytes for item in items)), items),
        _marked(compact(sum(item.seconds for item in to_run)), to_run) if to_run else "",
        _marked(size(max(item.peak_ram for item in to_run)), to_run) if to_run else "",
        makes,
    )


def _made_by(stage: StagePlan) -> str:
    """`8 DLC, 8 quantized ONNX`."""
    kinds = []
    for kind, number in stage.artifacts.items():
        plural = f"{kind.removesuffix('y')}ies" if kind.endswith("binary") else kind
        kinds.append(f"{number} {plural if number != 1 else kind}")
    return ", ".join(kinds)


def _marked(text: str, items: list[PlannedItem]) -> str:
    """With `~` where one of the items never ran."""
    return text if all(item.cached or item.from_history for item in items) else f"~{text}"


def _summary(made: Plan, jobs: int) -> str:
    from qairt.engine.plan.announce import planned_entries
    from qairt.engine.record.eta import remaining
    from qairt.engine.record.state import RunState

    wall = remaining(RunState.of_plan(planned_entries(made)), 0.0, jobs=jobs).seconds
    return f"{count(len(made.to_run()), 'item')} to run, about {about(wall)} with {jobs} at once"


def outputs(made: Plan) -> list[str]:
    """What stages leave for people that is not there yet, or is there of something else."""
    from qairt.cli.text.outcome import shown

    due = [output for output in made.outputs if not output.current]
    if not due:
        return []
    rows = [(f"  {output.stage.name}", output.kind, shown(output.directory), output.reason) for output in due]
    head = styled(f"{count(len(due), 'output')} to write for people:", "bold")
    return ["", head, *table(rows, header=("  stage", "output", "folder", "why it is written"))]


def reasons(to_run: list[PlannedItem]) -> list[str]:
    """Every item that runs: how long it takes, and why it is not reused."""
    rows = [
        (f"  {item.stage.name}", item.label, _marked(compact(item.seconds), [item]), item.reason) for item in to_run
    ]
    return table(rows, header=("  stage", "item", "time", "why it runs"), right=(2,))
