"""`qairt tui`."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import typer

from qairt.cli import completion, exit_codes
from qairt.cli.options import CacheDir, Overrides
from qairt.cli.run_options import RunLimits
from qairt.cli.screen_options import ScreenLook
from qairt.errors import RecipeError


@dataclass(frozen=True)
class ScreenStart:
    """What the screen opens on."""

    run: Annotated[bool, typer.Option("--run", help="Start the run at once, without the plan first.")] = False
    attach: Annotated[
        str | None,
        typer.Option(
            "--attach",
            metavar="RUN",
            help="Show this run, active or finished (qairt status).",
            autocompletion=completion.runs,
        ),
    ] = None
    host: Annotated[
        bool, typer.Option("--host", help="Run in a separate process, which survives the end of this one.")
    ] = False


@dataclass(frozen=True)
class Browser:
    """Whether and where the screen is served to a browser."""

    serve: Annotated[
        bool, typer.Option("--serve", help="Show it in a browser on this machine, read-only; needs qairt[serve].")
    ] = False
    port: Annotated[int, typer.Option("--port", metavar="PORT", min=1, max=65535, help="The port of --serve.")] = 8000


def tui(
    recipe: Annotated[
        str | None,
        typer.Argument(
            metavar="RECIPE",
            help="A recipe file, or the name of a recipe that comes with qairt. Left out: choose among the recipes and"
            " runs on this machine.",
            show_default=False,
            autocompletion=completion.recipes,
        ),
    ] = None,
    overrides: Overrides = None,
    *,
    start: ScreenStart,
    limits: RunLimits,
    cache_dir: CacheDir = None,
    look: ScreenLook,
    browser: Browser,
) -> None:
    """Plan, run and watch a recipe on a full screen.

    Opens on the plan: what is cached, what will run and why, time, memory, bytes; enter starts the run. If a run of
    the recipe is active, the screen attaches to it. `?` lists every key. Leaving the screen never ends a run, nor does
    a dropped connection. Without a recipe it opens on a list of the recipes, active and finished runs on this machine.

    \b
    Examples:
      qairt tui
      qairt tui recipes/smollm2-135m.yaml
      qairt tui recipe.yaml stages.split_model.num_splits=3 --run
      qairt tui recipe.yaml --host     the run has its own process
      qairt tui recipe.yaml --serve    open http://localhost:8000
    """
    from qairt.cli.find_run import find_run
    from qairt.cli.screen import ScreenRequest, show, why_no_screen
    from qairt.recipe.find import find_recipe

    if recipe is None and start.attach is None:
        raise typer.Exit(_pick_and_show(limits, look, host=start.host, cache_dir=cache_dir))
    if recipe is None:
        raise RecipeError("--attach needs the recipe of the run", remedy="qairt attach RUN shows a run by itself")
    path = find_recipe(recipe)
    if browser.serve:
        from qairt.cli.serve import serve_in_browser

        serve_in_browser(path, overrides or (), cache_dir, browser.port)
        return
    reason = why_no_screen()
    if reason is not None:
        raise typer.Exit(_without_screen(reason, path, overrides, cache_dir, limits if start.run else None))
    request = ScreenRequest(
        path,
        overrides or (),
        cache_dir,
        limits.options(),
        start=start.run,
        host=start.host,
        attach=None if start.attach is None else find_run(start.attach, recipe, cache_dir),
        look=look,
    )
    raise typer.Exit(show(request))


def _pick_and_show(limits: RunLimits, look: ScreenLook, *, host: bool, cache_dir: Path | None) -> int:
    """Let the user choose a recipe or a run, and show it; without a screen, print what there is."""
    from qairt.cli.commands.status import status
    from qairt.cli.screen import ScreenRequest, choose, show, why_no_screen

    if why_no_screen() is not None:
        status()
        return exit_codes.DONE
    choice = choose(look)
    if choice is None:
        return exit_codes.DONE
    request = ScreenRequest(choice.recipe, (), cache_dir, limits.options(), host=host, attach=choice.run, look=look)
    return show(request)


def _without_screen(
    reason: str, recipe: Path, overrides: list[str] | None, cache_dir: Path | None, limits: RunLimits | None
) -> int:
    """Run within `limits` with plain progress; without them, print the plan."""
    from qairt.cli.commands import plan, run
    from qairt.cli.failures import report_note
    from qairt.cli.find_recipe import open_pipeline

    report_note(f"no full screen: {reason}; plain text instead")
    pipeline = open_pipeline(str(recipe), overrides, cache_dir)
    if limits is not None:
        return run.run_plainly(pipeline, limits.options())
    plan.print_plan(pipeline)
    return exit_codes.DONE
