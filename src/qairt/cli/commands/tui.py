"""`qairt tui`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from qairt.cli import exit_codes
from qairt.cli.options import CacheDir, Overrides, Recipe
from qairt.cli.run_options import Force, Jobs, Memory, Until, make_options

if TYPE_CHECKING:
    from qairt.engine.record.folder import RunFolder

Host = Annotated[
    bool, typer.Option("--host", help="Run in a process of its own, which goes on whatever happens to this one.")
]
ReadOnly = Annotated[bool, typer.Option("--readonly", help="Only look: nothing is started, asked or cleared.")]
Ascii = Annotated[bool, typer.Option("--ascii", help="Write nothing but ASCII characters.")]
Theme = Annotated[str | None, typer.Option("--theme", metavar="NAME", help="Colours, such as qairt-light.")]
Refresh = Annotated[
    float | None,
    typer.Option("--refresh", metavar="HZ", min=0.1, max=10, help="Refreshes a second; 4, over SSH 2."),
]


def tui(
    recipe: Recipe,
    overrides: Overrides = None,
    run: Annotated[bool, typer.Option("--run", help="Start the run at once, without showing the plan first.")] = False,
    attach: Annotated[
        str | None, typer.Option("--attach", metavar="RUN", help="Show this run, going or over (qairt status).")
    ] = None,
    host: Host = False,
    until: Until = None,
    force: Force = None,
    jobs: Jobs = None,
    memory: Memory = None,
    cache_dir: CacheDir = None,
    readonly: ReadOnly = False,
    ascii: Ascii = False,
    theme: Theme = None,
    refresh: Refresh = None,
    serve: Annotated[
        bool, typer.Option("--serve", help="Show it in a browser on this machine, read-only; needs qairt[serve].")
    ] = False,
    port: Annotated[int, typer.Option("--port", min=1, max=65535, help="With --serve.")] = 8000,
) -> None:
    """Plan, run and watch a recipe on a full screen.

    Opens on the plan: what is cached, what will run and why, time, memory, bytes; enter starts it. When a run of the
    recipe is going, the screen attaches to it. Key ? lists every key. Leaving never ends a run; a dropped
    connection does not either.

    \b
    Examples:
      qairt tui recipes/smollm2-135m.yaml
      qairt tui recipe.yaml stages.split_model.num_splits=3 --run
      qairt tui recipe.yaml --host     the run has a process of its own
      qairt tui recipe.yaml --serve    look at http://localhost:8000
    """
    from qairt.cli.recipe_argument import find_recipe
    from qairt.cli.screen import Wanted, show, why_no_screen

    path = find_recipe(recipe)
    if serve:
        from qairt.cli.serve import serve_in_browser

        serve_in_browser(path, overrides or (), cache_dir, port)
        return
    reason = why_no_screen()
    if reason is not None:
        raise typer.Exit(_without_screen(reason, path, overrides, cache_dir, run))
    wanted = Wanted(
        recipe=path,
        overrides=overrides or (),
        cache_dir=cache_dir,
        options=make_options(until=until, force=force, jobs=jobs, memory=memory),
        start=run,
        host=host,
        attach=_run_named(attach, recipe, cache_dir),
        readonly=readonly,
        ascii=ascii,
        theme=theme,
        refresh=refresh,
    )
    raise typer.Exit(show(wanted))


def _run_named(name: str | None, recipe: str, cache_dir: Path | None) -> RunFolder | None:
    if name is None:
        return None
    from qairt.cli.find_run import find_run

    return find_run(name, recipe, cache_dir)


def _without_screen(reason: str, recipe: Path, overrides: list[str] | None, cache_dir: Path | None, start: bool) -> int:
    """Plain text does the same: the plan, or with --run the run."""
    from qairt.cli.commands import plan, run
    from qairt.cli.failures import tell_note

    tell_note(f"no full screen: {reason}; this is the same as plain text")
    if not start:
        plan.plan(str(recipe), overrides, cache_dir=cache_dir)
        return exit_codes.DONE
    run.run(str(recipe), overrides, cache_dir=cache_dir, no_tui=True)
    return exit_codes.DONE
