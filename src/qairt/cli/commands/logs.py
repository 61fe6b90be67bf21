"""`qairt logs`: what a run said, or one of its items; `-f` follows it."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Annotated

import typer

from qairt.cli.console import say
from qairt.cli.find_run import RecipeOption, find_run
from qairt.cli.options import CacheDir
from qairt.errors import RecipeError


def logs(
    run: Annotated[str | None, typer.Argument(metavar="RUN", help="A run, such as 0142; else the latest.")] = None,
    stage: Annotated[str | None, typer.Argument(metavar="STAGE", help="Only what happened in this stage.")] = None,
    item: Annotated[
        str | None, typer.Argument(metavar="ITEM", help="With it, what the tools of that item wrote.")
    ] = None,
    follow: Annotated[bool, typer.Option("--follow", "-f", help="Go on until the run ends. Ctrl-C leaves it.")] = False,
    lines: Annotated[
        int | None, typer.Option("--lines", "-n", min=0, metavar="LINES", help="Only the last lines so far.")
    ] = None,
    recipe: RecipeOption = None,
    cache_dir: CacheDir = None,
) -> None:
    """Print what happened in a run, or the log of one of its items.

    Leaving with Ctrl-C ends the printing, never the run.

    \b
    Examples:
      qairt logs
      qairt logs 0142 -f
      qairt logs convert ar1-split2 -n 50
      qairt logs llama/0142 convert ar1-split2
    """
    from qairt.amounts import count
    from qairt.cli.failures import tell_note
    from qairt.cli.text.run_log import RunLog

    run, stage, item = _placed([word for word in (run, stage, item) if word])
    folder = find_run(run, recipe, cache_dir, live=follow)
    log = RunLog(folder, follow=follow)
    with contextlib.suppress(KeyboardInterrupt):
        _print(log.of_item(stage, item) if stage and item else log.of_run(stage), lines)
    if log.tail.newer:
        tell_note(f"a newer qairt wrote {count(log.tail.unknown, 'record')} of this run that this one cannot read")


def _placed(words: list[str]) -> tuple[str | None, str | None, str | None]:
    """Run, stage and item, also when the run is left out: its id begins with a digit, a stage's name does not.

    Raises:
        RecipeError: the first of three is not a run.
    """
    has_run = bool(words) and (words[0][0].isdigit() or "/" in words[0])
    if len(words) == 3 and not has_run:
        raise RecipeError(f"{words[0]} is not a run", remedy="`qairt status` lists the latest ones")
    run, rest = (words[0], words[1:]) if has_run else (None, words)
    return run, rest[0] if rest else None, rest[1] if len(rest) > 1 else None


def _print(batches: Iterator[list[str]], lines: int | None) -> None:
    for number, batch in enumerate(batches):
        if number == 0 and lines is not None:
            batch = batch[-lines:] if lines else []
        if batch:
            say("\n".join(batch))
