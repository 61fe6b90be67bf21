"""`qairt attach`."""

from __future__ import annotations

from pathlib import Path

import typer

from qairt.cli.find_run import RunSelection
from qairt.cli.options import CacheDir
from qairt.cli.screen_options import ScreenLook


def attach(
    *,
    selection: RunSelection,
    cache_dir: CacheDir = None,
    look: ScreenLook,
) -> None:
    """Show a run on a full screen, active or finished.

    Without a terminal its events are printed instead, until it ends.

    \b
    Examples:
      qairt attach
      qairt attach 142
      qairt attach recipe.yaml --run 142
    """
    from qairt.cli.run_options import RunLimits
    from qairt.cli.screen import ScreenRequest, show, why_no_screen

    run = selection.find(cache_dir, live=True)
    if why_no_screen() is not None:
        from qairt.cli.commands.logs import follow

        follow(run)
        return
    host = run.host()
    recipe = Path(host.recipe) if host and Path(host.recipe).is_file() else run.path / "recipe.yaml"
    overrides = host.overrides if host else ()
    request = ScreenRequest(recipe, overrides, run.path.parents[2], RunLimits().options(), attach=run, look=look)
    raise typer.Exit(show(request))
