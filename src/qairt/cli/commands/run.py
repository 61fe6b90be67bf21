"""`qairt run`."""

from __future__ import annotations

from contextlib import suppress
from typing import Annotated

import typer

from qairt.cli import exit_codes
from qairt.cli.console import ReaderLeft, is_terminal, others_to_stderr
from qairt.cli.options import CacheDir, Overrides, Recipe
from qairt.cli.run_options import ExecutorName, Force, Jobs, Memory, Until, make_options


def run(
    recipe: Recipe,
    overrides: Overrides = None,
    until: Until = None,
    force: Force = None,
    jobs: Jobs = None,
    memory: Memory = None,
    executor: Annotated[
        ExecutorName,
        typer.Option(help="process: every item in a process of its own. inline: in this one, for debugging."),
    ] = ExecutorName.process,
    cache_dir: CacheDir = None,
    no_tui: Annotated[bool, typer.Option("--no-tui", help="Print plain progress instead of a full screen.")] = False,
    detach: Annotated[
        bool, typer.Option("--detach", "-d", help="Start it in the background and return; qairt attach shows it.")
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print every event as a line of JSON.")] = False,
) -> None:
    """Make what a recipe asks for, reusing what is made.

    Work is cut into items (a stage at one place of the fan-out, such as `convert ar128-split2`); each is kept when it
    is finished. Change a setting and run again: only what depends on it is made anew. After Ctrl-C, a crash or a full
    disk the same command goes on from the first unfinished item.

    On a terminal this is the screen of `qairt tui`, already running.

    \b
    Examples:
      qairt run recipes/smollm2-135m.yaml
      qairt run recipe.yaml stages.split_model.num_splits=3
      qairt run recipe.yaml --until quantization
      qairt run recipe.yaml --force convert --jobs 2 --memory 8G

    \b
    Exit codes: 0 done, 1 an item failed, 2 the command or the recipe is wrong,
    3 a toolchain is missing, 130 interrupted.
    """
    from qairt.cli.interruption import interruptible
    from qairt.cli.recipe_argument import open_pipeline
    from qairt.cli.screen import why_no_screen
    from qairt.cli.text.outcome import exit_code, tell_outcome
    from qairt.cli.watch.choose import choose

    options = make_options(until=until, force=force, jobs=jobs, memory=memory, executor=executor)
    if detach:
        from qairt.cli.commands.detach import start_detached

        start_detached(recipe, overrides or (), cache_dir, options, as_json=as_json)
        return
    if not (no_tui or as_json) and executor is ExecutorName.process and why_no_screen() is None:
        from qairt.cli.recipe_argument import find_recipe
        from qairt.cli.screen import Wanted, show

        raise typer.Exit(show(Wanted(find_recipe(recipe), overrides or (), cache_dir, options, start=True)))
    pipeline = open_pipeline(recipe, overrides, cache_dir)
    pipeline.detached = not is_terminal()
    watcher = choose(as_json=as_json, stop=pipeline.stop)
    pipeline.add_listener(watcher.event)
    try:
        with interruptible(pipeline.stop, lambda: pipeline.handles_stop), others_to_stderr(), watcher:
            result = pipeline.construct(options)
    except KeyboardInterrupt:
        from qairt.cli.failures import tell_error

        tell_error("interrupted", remedy="finished items are kept: the same command goes on from there")
        raise typer.Exit(exit_codes.INTERRUPTED) from None
    if not as_json:
        with suppress(ReaderLeft):  # the exit code still says how the run ended
            tell_outcome(result, watcher, pipeline)
    raise typer.Exit(exit_code(result))
