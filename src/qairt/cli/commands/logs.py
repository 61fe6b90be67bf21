"""`qairt logs`."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from typing import TYPE_CHECKING, Annotated

import typer

from qairt.cli import completion
from qairt.cli.console import emit
from qairt.cli.find_recipe import is_recipe
from qairt.cli.find_run import RunSelection, is_run
from qairt.cli.options import CacheDir
from qairt.errors import RecipeError

if TYPE_CHECKING:
    from qairt.engine.record.folder import RunFolder


def logs(
    *,
    selection: RunSelection,
    stage: Annotated[
        str | None,
        typer.Argument(
            metavar="STAGE",
            help="Only events of this stage.",
            show_default=False,
            autocompletion=completion.stages,
        ),
    ] = None,
    item: Annotated[
        str | None, typer.Argument(metavar="ITEM", help="The log of this item of the stage.", show_default=False)
    ] = None,
    is_followed: Annotated[
        bool, typer.Option("--follow", "-f", help="Continue until the run ends. Ctrl-C stops the output, not the run.")
    ] = False,
    lines: Annotated[
        int | None, typer.Option("--lines", "-n", min=0, metavar="N", help="Begin with the last N lines.")
    ] = None,
    cache_dir: CacheDir = None,
) -> None:
    """Print the events of a run, or the log of one of its items.

    \b
    Examples:
      qairt logs
      qairt logs 142 -f
      qairt logs recipe.yaml convert
      qairt logs convert ar1-split2 -n 50
      qairt logs llama/142 convert ar1-split2
    """
    selection, stage, item = _resolved(selection, stage, item)
    _print_log(selection.find(cache_dir, live=is_followed), stage, item, is_followed=is_followed, lines=lines)


def follow(run: RunFolder) -> None:
    """Print the events of a run until it ends."""
    _print_log(run, is_followed=True)


def _resolved(
    selection: RunSelection, stage: str | None, item: str | None
) -> tuple[RunSelection, str | None, str | None]:
    """Run, stage and item, also when RECIPE and RUN were left out.

    Raises:
        RecipeError: the first of three words is neither a recipe nor a run.
    """
    first = selection.recipe_or_run
    if first is None or is_run(first) or is_recipe(first):
        return selection, stage, item
    if item is not None:
        raise RecipeError(f"{first} is neither a recipe nor a run", remedy="`qairt status` lists the latest runs")
    return RunSelection(None, selection.run, selection.recipe_option), first, stage


def _print_log(
    run: RunFolder,
    stage: str | None = None,
    item: str | None = None,
    *,
    is_followed: bool,
    lines: int | None = None,
) -> None:
    from qairt.amounts import count
    from qairt.cli.failures import report_note
    from qairt.cli.text.run_log import RunLog

    log = RunLog(run, follow=is_followed)
    with suppress(KeyboardInterrupt):
        _print_batches(log.of_item(stage, item) if stage and item else log.of_run(stage), lines)
    if log.tail.newer:
        report_note(
            f"a newer qairt wrote {count(log.tail.unknown, 'record')} of this run that this version cannot read"
        )


def _print_batches(batches: Iterator[list[str]], lines: int | None) -> None:
    for number, batch in enumerate(batches):
        if number == 0 and lines is not None:
            batch = batch[-lines:] if lines else []
        if batch:
            emit("\n".join(batch))
