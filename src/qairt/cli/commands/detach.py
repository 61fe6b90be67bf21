"""`qairt run --detach`, `qairt attach`, `qairt cancel`: runs that live in a process of their own."""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from qairt.cli.console import say, say_json
from qairt.cli.find_run import RecipeOption, RunArgument, how_to_return
from qairt.cli.options import CacheDir, Json, Yes
from qairt.errors import CacheError, RecipeError

if TYPE_CHECKING:
    from qairt.engine.run.options import RunOptions

_PATIENCE = 15.0  # seconds for a run to answer


def start_detached(
    recipe: str, overrides: Sequence[str], cache_dir: Path | None, options: RunOptions, *, as_json: bool
) -> None:
    """Start a run in the background, and say how to come back to it."""
    from qairt.cli.recipe_argument import find_recipe, open_pipeline
    from qairt.project import Project

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
    run = project.start_host(options)
    if as_json:
        host = run.host()
        say_json({"run": run.id, "pid": host.pid if host else None, "folder": str(run.path)})
        return
    for line in how_to_return(run):
        say(line)


def attach(
    run: RunArgument = None,
    recipe: RecipeOption = None,
    cache_dir: CacheDir = None,
    readonly: Annotated[bool, typer.Option("--readonly", help="Only look: nothing is asked or cleared.")] = False,
    ascii: Annotated[bool, typer.Option("--ascii", help="Write nothing but ASCII characters.")] = False,
    theme: Annotated[str | None, typer.Option("--theme", metavar="NAME", help="Colours, such as qairt-light.")] = None,
) -> None:
    """Show a run on a full screen, while it goes or as it was.

    Where there is no terminal to show it on, its events are printed instead, until it is over.
    """
    from qairt.cli.find_run import find_run
    from qairt.cli.run_options import make_options
    from qairt.cli.screen import Wanted, show, why_no_screen

    found = find_run(run, recipe, cache_dir, live=True)
    if why_no_screen() is not None:
        from qairt.cli.commands.logs import logs

        logs(found.id, cache_dir=found.path.parents[2], follow=True)
        return
    host = found.host()
    source = Path(host.recipe) if host and Path(host.recipe).is_file() else found.path / "recipe.yaml"
    wanted = Wanted(
        recipe=source,
        overrides=host.overrides if host else (),
        cache_dir=found.path.parents[2],
        options=make_options(),
        attach=found,
        readonly=readonly,
        ascii=ascii,
        theme=theme,
    )
    raise typer.Exit(show(wanted))


def cancel(
    run: RunArgument = None,
    recipe: RecipeOption = None,
    cache_dir: CacheDir = None,
    yes: Yes = False,
    as_json: Json = False,
) -> None:
    """End a run that is going. Finished items are kept: the same run goes on from there."""
    from qairt.cli.commands.cache import someone_is_there
    from qairt.cli.find_run import find_run
    from qairt.engine.record import events as ev

    found = find_run(run, recipe, cache_dir, live=True)
    if found.liveness() not in ("running", "unknown"):
        raise RecipeError(
            f"run {found.id} is not going", where=str(found.path), remedy="`qairt status` lists those that are"
        )
    if not yes:
        if not someone_is_there():
            raise RecipeError(f"this would cancel run {found.id}", remedy="give --yes, for there is nobody to ask")
        if not typer.confirm(f"Cancel run {found.id}? Finished items are kept."):
            return
    tail = ev.EventTail(found.events)
    tail.read()
    request = found.ask("cancel_run")
    deadline = time.monotonic() + _PATIENCE
    while time.monotonic() < deadline:
        for event in tail.read():
            if isinstance(event, ev.RequestAnswered) and event.request == request:
                if as_json:
                    say_json({"run": found.id, "cancelled": event.done, "message": event.message})
                else:
                    say(f"run {found.id}: {event.message}")
                return
        if found.liveness() != "running":
            break
        time.sleep(0.1)
    raise CacheError(
        f"run {found.id} did not answer", where=str(found.path), remedy="`qairt status` says how it stands"
    )
