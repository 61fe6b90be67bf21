"""`qairt run`."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated

import typer

from qairt.cli import exit_codes
from qairt.cli.console import ReaderGone, is_terminal, stray_output_to_stderr
from qairt.cli.options import CacheDir, Overrides, Recipe
from qairt.cli.run_options import Machines, RunLimits

if TYPE_CHECKING:
    from qairt.engine.run.options import RunOptions
    from qairt.llm import LLMPipeline


@dataclass(frozen=True)
class RunDisplay:
    """Where a run is shown."""

    no_tui: Annotated[bool, typer.Option("--no-tui", help="Print plain progress instead of a full screen.")] = False
    detach: Annotated[
        bool, typer.Option("--detach", "-d", help="Start in the background and return; qairt attach shows the run.")
    ] = False
    as_json: Annotated[bool, typer.Option("--json", help="Print every event as a line of JSON.")] = False


def run(
    recipe: Recipe,
    overrides: Overrides = None,
    *,
    limits: RunLimits,
    machines: Machines,
    cache_dir: CacheDir = None,
    display: RunDisplay,
) -> None:
    """Build what a recipe describes, reusing what is cached.

    Work is split into items: one stage at one coordinate, such as `convert ar128-split2`. Each is cached when it
    finishes. After a setting changes, only what depends on it is rebuilt. After Ctrl-C, a crash or a full disk, the
    same command resumes at the first unfinished item.

    On a terminal this opens the screen of `qairt tui` with the run started.

    \b
    Examples:
      qairt run recipes/smollm2-135m.yaml
      qairt run recipe.yaml stages.split_model.num_splits=3
      qairt run recipe.yaml --until quantization
      qairt run recipe.yaml --force convert --jobs 2 --memory 8G
      qairt run recipe.yaml --executor dask --scheduler tcp://10.0.0.5:8786

    \b
    Exit codes: 0 done, 1 an item failed, 2 the command or the recipe is wrong,
    3 a toolchain is missing, 130 interrupted.
    """
    from qairt.cli.find_recipe import open_pipeline
    from qairt.cli.screen import ScreenRequest, show, why_no_screen
    from qairt.recipe.find import find_recipe

    options = limits.options(machines)
    if display.detach:
        from qairt.cli.detached import start_detached

        start_detached(recipe, overrides or (), cache_dir, options, as_json=display.as_json)
        return
    if not (display.no_tui or display.as_json) and machines.executor != "inline" and why_no_screen() is None:
        raise typer.Exit(show(ScreenRequest(find_recipe(recipe), overrides or (), cache_dir, options, start=True)))
    raise typer.Exit(run_plainly(open_pipeline(recipe, overrides, cache_dir), options, as_json=display.as_json))


def run_plainly(pipeline: LLMPipeline, options: RunOptions, *, as_json: bool = False) -> int:
    """Run with lines of text or JSON; returns the exit code."""
    from qairt.cli.failures import report_error
    from qairt.cli.interruption import interruptible
    from qairt.cli.text.outcome import exit_code, print_outcome
    from qairt.cli.watch.choose import choose

    pipeline.detached = not is_terminal()
    watcher = choose(as_json=as_json, stop=pipeline.stop)
    pipeline.add_listener(watcher.event)
    try:
        with interruptible(pipeline.stop, lambda: pipeline.handles_stop), stray_output_to_stderr(), watcher:
            result = pipeline.construct(options).last_run
    except KeyboardInterrupt:
        report_error("interrupted", remedy="finished items are kept: the same command resumes there")
        return exit_codes.INTERRUPTED
    if not as_json:
        with suppress(ReaderGone):  # the exit code still reports how the run ended
            print_outcome(result, watcher, pipeline)
    return exit_code(result)
