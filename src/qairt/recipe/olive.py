"""Olive's workflow files, which are no recipes: recognised by their keys, so that the error can say what to do."""

from __future__ import annotations

import shlex
from collections.abc import Mapping
from pathlib import Path

from qairt.errors import RecipeError
from qairt.files import read_json

_KEYS = ("input_model", "passes")


def refuse_olive_file(path: Path) -> None:
    """
    Raises:
        RecipeError: the JSON file is Olive's. Any other file, also one that cannot be read, is not this function's.
    """
    try:
        content = read_json(path)
    except (OSError, ValueError):
        return
    refuse_olive(content, path)


def refuse_olive(content: object, path: Path) -> None:
    """
    Raises:
        RecipeError: these settings are Olive's.
    """
    if not isinstance(content, Mapping) or not all(isinstance(content.get(key), Mapping) for key in _KEYS):
        return
    passes = [each for each in content["passes"].values() if isinstance(each, Mapping)]
    recipe = next((each["recipe"] for each in passes if isinstance(each.get("recipe"), str)), None)
    model = content["input_model"].get("model_path")
    run = f"`olive run --config {shlex.quote(str(path))}` runs it"
    if recipe is not None:
        remedy = f"{run}; its recipe is {recipe}: `qairt run {shlex.quote(str(path.parent / recipe))}`"
    else:
        remedy = f"{run}; `qairt init {shlex.quote(str(model or 'MODEL'))}` writes a recipe for its model"
    raise RecipeError("this is an Olive workflow, not a recipe", where=str(path), remedy=remedy)
