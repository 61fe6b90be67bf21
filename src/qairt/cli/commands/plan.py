"""`qairt plan`."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from qairt.cli.console import emit, emit_json
from qairt.cli.options import CacheDir, Json, Overrides, Recipe
from qairt.cli.run_options import Disk, Force, Jobs, Memory, Until

if TYPE_CHECKING:
    from qairt.llm import LLMPipeline


@dataclass(frozen=True)
class PlanScope:
    """The run that is planned."""

    until: Until = None
    force: Force = None
    jobs: Jobs = None
    memory: Memory = None
    disk: Disk = None


@dataclass(frozen=True)
class PlanDisplay:
    """How much is printed."""

    as_json: Json = False
    brief: Annotated[bool, typer.Option("--brief", help="Omit the list of items.")] = False
    show_config: Annotated[
        bool, typer.Option("--show-config", help="Print the effective settings, and where each comes from.")
    ] = False


def plan(
    recipe: Recipe,
    overrides: Overrides = None,
    *,
    scope: PlanScope,
    cache_dir: CacheDir = None,
    display: PlanDisplay,
) -> None:
    """Show what a run would do, and why each item runs.

    Reads no weights and starts no compiler. Sizes, times and memory come from
    earlier runs if there are any; those marked ~ are estimates.

    \b
    Examples:
      qairt plan recipes/smollm2-135m.yaml
      qairt plan recipe.yaml stages.split_model.num_splits=3
      qairt plan recipe.yaml --json | jq '.stages[] | {name, artifacts}'
      qairt plan recipe.yaml --json | jq -r '.notices[]'
      qairt plan recipe.yaml --show-config
    """
    from qairt.cli.find_recipe import open_pipeline

    pipeline = open_pipeline(recipe, overrides, cache_dir)
    if display.show_config:
        from qairt.cli.text.settings_in_force import print_settings

        print_settings(pipeline, as_json=display.as_json)
        return
    print_plan(pipeline, scope, display, cache_dir)


def print_plan(
    pipeline: LLMPipeline,
    scope: PlanScope = PlanScope(),
    display: PlanDisplay = PlanDisplay(),
    cache_dir: Path | None = None,
) -> None:
    """Print the table of stages, then every item that runs with its reason."""
    from qairt.cli.failures import report_note
    from qairt.cli.text.estimate import at_most_lines
    from qairt.cli.text.next_step import after_plan, tell_next
    from qairt.cli.text.plan import disk_lines, expected, plan_lines
    from qairt.engine.plan.memory import memory_warnings
    from qairt.engine.run.disk import expected_peak, require_within_limit
    from qairt.engine.run.options import RunOptions
    from qairt.machine import available_cores
    from qairt.results.estimate import at_most

    jobs, force = scope.jobs or available_cores(), frozenset(scope.force or ())
    options = RunOptions(jobs=jobs, memory=scope.memory, disk=scope.disk, until=scope.until, force=force)
    env = pipeline.env(options)
    planned = pipeline.plan(options, env)
    disk = expected_peak(planned, options, require_within_limit(planned, options, pipeline.state_folder))
    notes = [*pipeline.notes(), *memory_warnings(planned, options.ram)]
    chip = at_most(env, planned, pipeline.state_folder)
    if display.as_json:
        eta = asdict(expected(planned, jobs, options.ram))
        at_best = None if chip is None else asdict(chip)
        eta |= {"peak_disk": disk}
        emit_json({**planned.as_dict(), "estimate": eta, "at_most": at_best, "notices": notes})
        return
    for note in notes:
        report_note(note)
    for line in plan_lines(planned, jobs=jobs, memory=options.ram, brief=display.brief):
        emit(line)
    for line in disk_lines(planned, disk):
        emit(line)
    for line in at_most_lines(chip) if chip is not None else ():
        emit(line)
    tell_next(after_plan(planned), pipeline, cache_dir)
