"""Which run a command means: `0142`, `llama/0142`, or the latest one."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from qairt.engine.record.folder import RunFolder

import shlex
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from qairt.amounts import count
from qairt.errors import RecipeError

if TYPE_CHECKING:
    from qairt.engine.record.folder import RunFolder

PARENT = "qairt-cache"
RunArgument = Annotated[
    str | None,
    typer.Argument(
        metavar="RUN", help="A run, such as 0142, or llama/0142 where several recipes have one; else the latest."
    ),
]
RecipeOption = Annotated[
    str | None, typer.Option("--recipe", "-r", metavar="RECIPE", help="The recipe whose runs are meant.")
]
_NAMED_IN_ERRORS = 8


def state_folders(recipe: str | None, cache_dir: Path | None) -> list[Path]:
    """`pipeline_state/` of the cache directories that are meant.

    That is the given one, the recipe's, or all of those below qairt-cache/.

    Raises:
        RecipeError: nothing was run there.
    """
    from qairt.engine.cache.manifest import STATE_FOLDER

    folder = cache_dir
    if folder is None and recipe is not None:
        from qairt.cli.recipe_argument import open_pipeline

        folder = open_pipeline(recipe).cache_dir
    if folder is not None:
        if not (folder / STATE_FOLDER).is_dir():
            raise RecipeError(
                "nothing was run in this cache directory yet", where=str(folder), remedy="qairt run RECIPE"
            )
        return [folder / STATE_FOLDER]
    found = sorted(path for path in Path(PARENT).glob(f"*/{STATE_FOLDER}") if path.is_dir())
    if not found:
        raise RecipeError(
            f"there is no cache directory below {PARENT}/", remedy="say which one with --recipe or --cache-dir"
        )
    return found


def find_run(run: str | None, recipe: str | None, cache_dir: Path | None, *, live: bool = False) -> RunFolder:
    """The run that is meant.

    Args:
        run: its id, `<folder below qairt-cache>/<id>`, or None for the latest.
        live: of those that go now, if there is any, when `run` is None.

    Raises:
        RecipeError: there is no such run, or several; names those that there are.
    """
    from qairt.engine.record.folder import run_folders

    folders = [folder for state_folder in state_folders(recipe, cache_dir) for folder in run_folders(state_folder)]
    if not folders:
        raise RecipeError("nothing was run here yet", remedy="qairt run RECIPE")
    folders.sort(key=began)
    if run is None:
        going = [folder for folder in folders if folder.liveness() == "running"] if live else []
        return (going or folders)[-1]
    place, _, run_id = run.rpartition("/")
    found = [
        folder
        for folder in folders
        if folder.id in (run_id, run_id.zfill(4)) and place in ("", cache_dir_of(folder).name)
    ]
    if len(found) == 1:
        return found[0]
    if found:
        raise RecipeError(
            f"there are several runs {run}", remedy=f"say which one: {_listed([_in_full(folder) for folder in found])}"
        )
    several = len({cache_dir_of(folder) for folder in folders}) > 1
    names = [_in_full(folder) if several else folder.id for folder in folders]
    raise RecipeError(f"there is no run {run}", remedy=f"there is {_listed(names)}")


def began(folder: RunFolder) -> float:
    """When it started, as far as that is known."""
    host = folder.host()
    if host is not None:
        return host.started
    try:
        return folder.path.stat().st_mtime
    except OSError:
        return 0.0


def cache_dir_of(folder: RunFolder) -> Path:
    return folder.path.parent.parent.parent


def name_of(folder: RunFolder) -> str:
    """What finds it again: `llama/0142` below qairt-cache/, else its id."""
    return _in_full(folder) if _is_below_parent(folder) else folder.id


def command(verb: str, folder: RunFolder, *words: str) -> str:
    """The command that does something with a run: `qairt attach llama/0142`."""
    place = [] if _is_below_parent(folder) else ["--cache-dir", str(cache_dir_of(folder))]
    return shlex.join(["qairt", verb, name_of(folder), *words, *place])


def _is_below_parent(folder: RunFolder) -> bool:
    return cache_dir_of(folder).parent.resolve() == Path(PARENT).resolve()


def _in_full(folder: RunFolder) -> str:
    return f"{cache_dir_of(folder).name}/{folder.id}"


def _listed(names: Sequence[str]) -> str:
    """The newest of them, the oldest first."""
    left_out = len(names) - _NAMED_IN_ERRORS
    return (f"{count(left_out, 'older one')}, " if left_out > 0 else "") + ", ".join(names[-_NAMED_IN_ERRORS:])


def how_to_return(run: RunFolder) -> list[str]:
    """What to type to see, follow or stop a run that is going."""
    from qairt.cli.find_run import command

    host = run.host()
    where = f" on {host.host} (pid {host.pid})" if host else ""
    return [
        f"run {run.id} is going{where}",
        f"  see it     {command('attach', run)}",
        f"  follow it  {command('logs', run, '-f')}",
        f"  stop it    {command('cancel', run)}",
    ]
