"""Files that a recipe names: which settings name one, and where it is looked for.

1. `~` and `${VARIABLE}` are expanded. An absolute path is used as it is.
2. Any other path is relative to the recipe's file, wherever the program is started.
3. A technique file is also looked for in `quantization/` beside the recipe, then among those that qairt ships.
4. A path on the command line is relative to the working directory first; so is one in a recipe that has no file.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from qairt.errors import RecipeError
from qairt.files import expanded, unset_variable
from qairt.recipe.names import nearest

CACHES = "qairt-cache"
"""The folder of caches: beside a recipe, unless it or `--cache-dir` says otherwise."""
_EXTENSIONS = (".gguf", ".safetensors", ".txt", ".md", ".json", ".jsonl")
_EXISTS = {"file": os.path.isfile, "folder": os.path.isdir, "file or folder": os.path.exists}


@dataclass(frozen=True)
class RecipeFile:
    """Marks a setting that names a file: `calibration_text: Annotated[str | None, RecipeFile()]`.

    Where a recipe is read, the name is replaced by the file's absolute path.
    """

    kind: Literal["file", "folder", "file or folder"] = "file"
    folder: str = ""
    """Where such files are kept, beside a recipe and among those that qairt ships: `quantization`."""
    or_hub_id: bool = False
    """A name that no file has is an id on the Hugging Face hub, and stays as it is."""
    output: bool = False
    """It is written, and need not exist."""


def shipped_recipes() -> Path:
    """The folder of recipes that come with qairt: in the package, or at the top of a source checkout."""
    package = Path(__file__).parents[1]
    installed = package / "recipes"
    return installed if installed.is_dir() else package.parents[1] / "recipes"


REGISTERED: dict[str, Path] = {}
"""Files that a program has registered, by their names in a recipe; see `qairt.stages.technique_registry`."""


def default_cache_dir(recipe: Path | None) -> Path:
    """Where a recipe's cache is by default: `qairt-cache/NAME` beside it, whatever the working directory is.

    In the working directory for a recipe that comes with qairt, which is in no folder of the user's, and for one
    without a file.
    """
    if recipe is None:
        return Path(CACHES, "recipe").absolute()
    folder = recipe.absolute().parent
    home = Path() if folder == shipped_recipes().absolute() else folder
    return (home / CACHES / recipe.stem).absolute()


def is_path(name: str) -> bool:
    """Whether a name can only be a path: ids on the hub are `name` or `owner/name`."""
    return name.endswith(_EXTENSIONS) or name.startswith((".", "/", "~", "$")) or name.count("/") > 1


@dataclass(frozen=True)
class FileSearch:
    """The search for a file that a recipe names."""

    name: str
    setting: RecipeFile
    beside: Path | None
    """The folder of the recipe; None for one that was not read from a file."""
    on_command_line: bool = False
    """The name was given on the command line."""

    def find(self) -> Path | None:
        """The absolute path of the first match; None when there is none."""
        exists = _EXISTS[self.setting.kind]
        return next((path.absolute() for path in self.candidates() if exists(path)), None)

    def candidates(self) -> list[Path]:
        """Every path that it can mean, in order of preference."""
        path = self._expanded()
        registered = [REGISTERED[self.name]] if self.setting.folder and self.name in REGISTERED else []
        return [path] if path.is_absolute() else [*(folder / path for folder in self._folders()), *registered]

    def in_working_directory(self) -> Path | None:
        """A match in the working directory, where that is not searched."""
        path = self._expanded()
        elsewhere = path.is_absolute() or Path() in self._folders()
        return path.absolute() if not elsewhere and _EXISTS[self.setting.kind](path) else None

    def can_be_hub_id(self) -> bool:
        """Whether a name that was not found can be an id on the hub; not if the working directory has such a file."""
        return self.setting.or_hub_id and not is_path(self.name) and self.in_working_directory() is None

    def error(self, where: str) -> RecipeError:
        """The error for a file that does not exist.

        Args:
            where: the setting that names it.
        """
        other = next((path for path in self.candidates() if os.path.exists(path)), None)
        if other is not None:
            what = f"{other} is not a {self.setting.kind}"
        elif self._expanded().is_absolute():
            what = f"{self.name} does not exist"
        else:
            what = f"{self.name} was not found in {_listed([str(folder.absolute()) for folder in self._folders()])}"
        return RecipeError(what, where=where, remedy=self._remedy())

    def _remedy(self) -> str:
        path = self._expanded()
        if unset := unset_variable(self.name):
            return f"set the environment variable {unset}"
        if self.beside is not None and (there := self.in_working_directory()) is not None:
            relative = os.path.relpath(there, self.beside.absolute())
            return f"it is in the working directory, but a path is relative to the recipe's file: write {relative}"
        neighbors = {Path(name).stem: name for name in self._neighbors()}
        if close := nearest(path.stem, neighbors):
            return f"did you mean {neighbors[close]}?"
        if self.setting.folder:
            shipped = sorted(file.name for file in (shipped_recipes() / self.setting.folder).glob("*.y*ml"))
            return f"qairt ships {', '.join(shipped)}"
        or_id = ", or an id on the Hugging Face hub" if self.setting.or_hub_id else ""
        return f"give the path of an existing {self.setting.kind}{or_id}"

    def _neighbors(self) -> Iterator[str]:
        """Names of the files in the folders that were searched."""
        suffixes = (".yaml", ".yml") if self.setting.folder else (self._expanded().suffix,)
        for folder in dict.fromkeys(path.parent for path in self.candidates()):
            if self.setting.folder and folder.name != self.setting.folder:
                continue  # the recipes beside this one are of another kind
            if os.path.isdir(folder):
                yield from sorted(file.name for file in folder.iterdir() if file.suffix in suffixes)

    def _expanded(self) -> Path:
        try:
            return expanded(self.name)
        except ValueError:  # what reads recipes has refused it
            return Path(self.name)

    def _folders(self) -> list[Path]:
        home = self.beside if self.beside is not None else Path()
        folders = [Path(), home] if self.on_command_line else [home]
        if self.setting.folder:
            folders += [home / self.setting.folder, shipped_recipes() / self.setting.folder]
        return list(dict.fromkeys(folders))


def _listed(names: list[str]) -> str:
    """`a, b or c`."""
    return " or ".join([", ".join(names[:-1]), names[-1]] if len(names) > 1 else names)
