"""Making the files that a recipe names absolute, once, when it is read: what is kept of it leads to the same files.

Which settings name a file is marked in their types, see `RecipeFile`.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from types import UnionType
from typing import Annotated, Union, get_args, get_origin

from pydantic import BaseModel
from pydantic.fields import FieldInfo

from qairt.errors import RecipeError
from qairt.files import expanded
from qairt.recipe.faults import combined
from qairt.recipe.files import FileSearch, RecipeFile, shipped_recipes
from qairt.recipe.places import COMMAND_LINE, LocatedMapping, child, key_in
from qairt.recipe.source import KeyPath


def make_files_absolute(recipe: LocatedMapping, path: KeyPath, model: type[BaseModel]) -> None:
    """Replace the files that the settings at `path` name by their absolute paths, in place.

    One that does not exist is noted in `recipe.missing_files`; whether that is an error, the check of its stage says.

    Args:
        model: the type of these settings.

    Raises:
        RecipeError: paths use variables that are not set; names each.
    """
    faults = []
    in_order = sorted(_files_in_model(model, recipe.at(path), path), key=lambda found: recipe.line(found[0]))
    for steps, setting, name in in_order:
        try:
            absolute = _absolute(recipe, steps, search_for(recipe, steps, setting, name))
        except RecipeError as error:
            faults.append(error)
            continue
        container = recipe.at(steps[:-1])
        container[key_in(container, steps[-1])] = absolute
    if faults:
        raise combined(faults)


def make_config_files_absolute(
    recipe: LocatedMapping, path: KeyPath, config: BaseModel, *, assigned: bool = False
) -> None:
    """The same for settings that are not in the recipe: defaults, and what a program assigned.

    Args:
        path: where the recipe would have them.
        assigned: by a program; a path is relative to its working directory first.
    """
    for name, info in type(config).model_fields.items():
        value = getattr(config, name)
        setting = _marker(info)
        if setting is None or not isinstance(value, (str, Path)) or Path(value).is_absolute():
            continue
        search = FileSearch(str(value), setting, _folder(recipe), on_command_line=assigned)
        absolute = _absolute(recipe, (*path, name), search)
        was_set = name in config.model_fields_set
        setattr(config, name, type(value)(absolute))
        if not was_set:
            config.model_fields_set.discard(name)


def argument_path(recipe: LocatedMapping, name: str, model: type[BaseModel], field: str) -> str:
    """The absolute path of a file named on the command line or by a program; an id on the hub as it is.

    Args:
        model: the type whose `field` the argument replaces.
    """
    setting = _marker(model.model_fields[field])
    if setting is None:
        return name
    found = FileSearch(name, setting, _folder(recipe), on_command_line=True).find()
    return name if found is None else str(found)


def keep_default_files(recipe: LocatedMapping, path: KeyPath, config: BaseModel) -> None:
    """Write default files of the user's own into the recipe, for it to mean the same from anywhere."""
    for name, info in type(config).model_fields.items():
        value = getattr(config, name)
        if _marker(info) is None or not isinstance(value, (str, Path)) or recipe.at((*path, name)) is not None:
            continue
        if not Path(value).is_relative_to(shipped_recipes().absolute()):
            container = recipe.at(path[:-1])
            key = key_in(container, path[-1])
            container[key] = {**(container[key] or {}), name: str(value)}


def search_for(recipe: LocatedMapping, path: KeyPath, setting: RecipeFile, name: str) -> FileSearch:
    """The search for the file that a recipe names at `path`."""
    return FileSearch(name, setting, _folder(recipe), on_command_line=recipe.origin(path) == COMMAND_LINE)


def _folder(recipe: LocatedMapping) -> Path | None:
    return recipe.source.parent if recipe.source else None


def _absolute(recipe: LocatedMapping, path: KeyPath, search: FileSearch) -> str:
    dotted = ".".join(path)
    recipe.missing_files.pop(dotted, None)
    try:
        expanded(search.name)
    except ValueError as error:
        remedy = "set it, or write the path without it"
        raise recipe.located(RecipeError(str(error), where=dotted, remedy=remedy)) from error
    found = search.candidates()[0].absolute() if search.setting.output else search.find()
    if found is None:
        if search.can_be_hub_id():
            return search.name
        found = search.candidates()[0].absolute()
        if not search.setting.output:
            recipe.missing_files[dotted] = search.error(dotted)
    if str(found) != search.name:
        recipe.note_resolved(path, search.name, str(found))
    return str(found)


def _files_in_model(model: type[BaseModel], values: object, path: KeyPath) -> Iterator[tuple[KeyPath, RecipeFile, str]]:
    """Path, marker and value of every setting in `values` that names a file."""
    for name, info in model.model_fields.items():
        for key in _spellings(name, info):
            value = child(values, key) if isinstance(values, Mapping) else None
            setting = _marker(info)
            if setting is not None and isinstance(value, (str, Path)):
                yield (*path, key), setting, str(value)
            elif value is not None:
                yield from _files_in(info.annotation, value, (*path, key))


def _files_in(annotation: object, value: object, path: KeyPath) -> Iterator[tuple[KeyPath, RecipeFile, str]]:
    origin, arguments = get_origin(annotation), get_args(annotation)
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        yield from _files_in_model(annotation, value, path)
    elif origin in (Union, UnionType, Annotated):
        for argument in arguments:
            yield from _files_in(argument, value, path)
    elif origin is list and isinstance(value, list):
        for index, item in enumerate(value):
            yield from _files_in(arguments[0], item, (*path, str(index)))
    elif origin is dict and isinstance(value, Mapping):
        for key, item in value.items():
            yield from _files_in(arguments[1], item, (*path, str(key)))


def _marker(info: FieldInfo) -> RecipeFile | None:
    return next((mark for mark in info.metadata if isinstance(mark, RecipeFile)), None)


def _spellings(name: str, info: FieldInfo) -> list[str]:
    """The keys under which a recipe can write a setting."""
    alias = info.validation_alias
    choices = getattr(alias, "choices", [alias])
    return list(dict.fromkeys([name, *(choice for choice in choices if isinstance(choice, str))]))
