"""Which run a command is about: `142`, `llama/142`, or the latest one."""

from __future__ import annotations

import os
import re
import shlex
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from qairt.amounts import count
from qairt.cli import completion
from qairt.cli.find_cache_dir import cache_dirs
from qairt.cli.options import HiddenRecipe
from qairt.errors import RecipeError
from qairt.recipe.files import CACHES

if TYPE_CHECKING:
    from qairt.engine.record.folder import RunFolder

RunOption = Annotated[
    str | None,
    typer.Option("--run", metavar="RUN", help="This run, such as 142.", autocompletion=completion.runs),
]
_RUN = re.compile(r"(?:[^/]+/)?\d+")
_NAMED_IN_ERRORS = 8


@dataclass(frozen=True)
class RunSelection:
    """Arguments and options that select one run."""

    recipe_or_run: Annotated[
        str | None,
        typer.Argument(
            metavar="RECIPE|RUN",
            help="A recipe, for its latest run; or a run, such as 142, or llama/142 where several recipes have one."
            " Left out: the latest run.",
            show_default=False,
            autocompletion=completion.recipes_or_runs,
        ),
    ] = None
    run: RunOption = None
    recipe_option: HiddenRecipe = None

    def find(self, cache_dir: Path | None, *, live: bool = False) -> RunFolder:
        """The selected run; see `find_run`."""
        recipe, run = self.recipe_option, self.run
        if self.recipe_or_run is not None and is_run(self.recipe_or_run):
            if run is not None:
                raise RecipeError(f"two runs are named: {self.recipe_or_run} and {run}", remedy="leave one out")
            run = self.recipe_or_run
        elif self.recipe_or_run is not None:
            recipe = self.recipe_or_run
        return find_run(run, recipe, cache_dir, live=live)


def is_run(word: str) -> bool:
    """Whether a word has the form of a run, `142` or `llama/142`."""
    return _RUN.fullmatch(word) is not None


def state_folders(recipe: str | None, cache_dir: Path | None) -> list[Path]:
    """`pipeline_state/` of each cache directory that is meant; see `cache_dirs`."""
    from qairt.engine.cache.manifest import STATE_FOLDER

    return [folder / STATE_FOLDER for folder in cache_dirs(recipe, cache_dir)]


def find_run(run: str | None, recipe: str | None, cache_dir: Path | None, *, live: bool = False) -> RunFolder:
    """
    Args:
        run: its id, `<folder in qairt-cache>/<id>`, or None for the latest.
        live: prefer an active run when `run` is None.

    Raises:
        RecipeError: there is no such run, or several; names the existing ones.
    """
    from qairt.engine.record.folder import run_folders

    folders = [folder for state_folder in state_folders(recipe, cache_dir) for folder in run_folders(state_folder)]
    if not folders:
        raise RecipeError("nothing has run here yet", remedy="qairt run RECIPE")
    folders.sort(key=start_time)
    if run is None:
        active = [folder for folder in folders if folder.liveness() == "running"] if live else []
        return (active or folders)[-1]
    cache, _, run_id = run.rpartition("/")
    found = [
        folder
        for folder in folders
        if folder.id in (run_id, run_id.zfill(4)) and cache in ("", cache_dir_of(folder).name)
    ]
    if len(found) == 1:
        return found[0]
    if found:
        raise RecipeError(
            f"there are several runs {run}", remedy=f"name one of {_listed([_full_name(folder) for folder in found])}"
        )
    several = len({cache_dir_of(folder) for folder in folders}) > 1
    names = [_full_name(folder) if several else folder.id for folder in folders]
    raise RecipeError(f"there is no run {run}", remedy=f"existing runs: {_listed(names)}")


def start_time(folder: RunFolder) -> float:
    """When the run started, in seconds since the epoch, as far as that is known."""
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
    """The RUN that finds it again: `llama/0142` in qairt-cache/, else its id."""
    return _full_name(folder) if _is_found_here(folder) else folder.id


def command(verb: str, folder: RunFolder, *words: str) -> str:
    """The command that does something with a run: `qairt attach llama/0142`."""
    cache = [] if _is_found_here(folder) else ["--cache-dir", str(cache_dir_of(folder))]
    return shlex.join(["qairt", verb, name_of(folder), *words, *cache])


def how_to_return(run: RunFolder) -> list[str]:
    """The commands that show, follow and cancel an active run."""
    host = run.host()
    where = f" on {host.host} (pid {host.pid})" if host else ""
    return [
        f"run {run.id} is active{where}",
        f"  attach  {command('attach', run)}",
        f"  follow  {command('logs', run, '-f')}",
        f"  cancel  {command('cancel', run)}",
    ]


def _is_found_here(folder: RunFolder) -> bool:
    """Whether `caches_here` finds its cache directory: `qairt-cache/NAME`, here or in a folder directly in here."""
    parts = Path(os.path.relpath(cache_dir_of(folder).resolve(), Path().resolve())).parts
    return os.pardir not in parts and len(parts) in (2, 3) and parts[-2] == CACHES


def _full_name(folder: RunFolder) -> str:
    return f"{cache_dir_of(folder).name}/{folder.id}"


def _listed(names: Sequence[str]) -> str:
    """The newest names, oldest first, and how many are left out."""
    left_out = len(names) - _NAMED_IN_ERRORS
    return (f"{count(left_out, 'older one')}, " if left_out > 0 else "") + ", ".join(names[-_NAMED_IN_ERRORS:])
