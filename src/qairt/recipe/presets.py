"""Presets of output settings: files mounted by name under `stages.<stage>.output`, below what the recipe says.

    output/torch.default.yaml                    for every model, at `output`
    model/<model>/output/torch.default.yaml      over it, at `output.extra.<model>`, where the recipe runs that model
    the recipe                                   over both
    the command line                             over all

Each file is looked up beside the recipe, then among those that qairt ships.
"""

from __future__ import annotations

import copy
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ValidationError

from qairt.errors import RecipeError
from qairt.recipe.faults import combined, faults_from_pydantic
from qairt.recipe.files import shipped_recipes
from qairt.recipe.names import nearest
from qairt.recipe.output_settings import DEFAULT_PRESET, ModelOutput, OutputSettings, is_model, model_name
from qairt.recipe.recipe import Recipe
from qairt.recipe.source import KeyPath

_NAME = re.compile(r"\w[\w.-]*")


class OutputPresets:
    """The presets that a recipe's stages ask for; each file is read once.

    Args:
        recipe: with the overrides of the command line applied.
    """

    def __init__(self, recipe: Recipe) -> None:
        self._recipe = recipe
        self._model = model_name(recipe.get("model_id_or_path"))
        beside = recipe.source.parent if recipe.source else None
        self._folders = [folder for folder in (beside, shipped_recipes()) if folder is not None]
        self._mounted: dict[str, tuple[dict[str, Any], dict[KeyPath, str]]] = {}
        self._own: set[str] = set()
        """Names of presets of which a file lies beside the recipe."""

    def output_of(self, stage: str, own: Any) -> Any:
        """The merged `output` of a stage; the recipe remembers which of it comes from a preset.

        Args:
            own: what the recipe and the command line say.

        Raises:
            RecipeError: there is no such preset, or it holds what is not a setting.
        """
        own = {} if own is None else own
        if not isinstance(own, Mapping):
            return own
        name = own.get("preset", DEFAULT_PRESET)
        if not isinstance(name, str):
            return own
        if not _NAME.fullmatch(name):
            raise self._unknown(name, stage)
        if name not in self._mounted:
            self._mounted[name] = self._read(name, stage)
        values, origins = self._mounted[name]
        for path, where in origins.items():
            self._recipe.note_preset(("stages", stage, "output", *path), where)
        return _merged(values, own)

    def _read(self, name: str, stage: str) -> tuple[dict[str, Any], dict[KeyPath, str]]:
        values: dict[str, Any] = {}
        origins: dict[KeyPath, str] = {}
        files = [*self._general(name)][:1], [*self._of_model(name)]
        if not any(files):
            raise self._unknown(name, stage)
        for path in files[0]:
            preset = _checked(Recipe.from_file(path), OutputSettings)
            values, origins = _merged(values, preset), origins | _origins(preset, ())
        for model, path in files[1]:
            preset = _checked(Recipe.from_file(path), ModelOutput)
            values = _merged(values, {"extra": {model: dict(preset)}})
            origins |= _origins(preset, ("extra", model))
        shipped = shipped_recipes()
        if not all(path.is_relative_to(shipped) for path in (*files[0], *(path for _, path in files[1]))):
            self._own.add(name)
        return values, origins

    def keep(self, stage: str, settings: OutputSettings) -> None:
        """Write the settings of a stage out into the recipe where they rest on files beside it: what is kept of the
        recipe must mean the same from anywhere."""
        stages = self._recipe["stages"]
        if settings.preset in self._own:
            own = {self._model: settings.of_model(self._model)} if self._model else {}
            whole = settings.model_copy(update={"preset": DEFAULT_PRESET, "extra": settings.extra | own})
            stages[stage] = {**(stages[stage] or {}), "output": whole.model_dump(mode="json")}

    def _general(self, name: str) -> Iterator[Path]:
        for folder in self._folders:
            path = folder / "output" / f"{name}.yaml"
            if path.is_file():
                yield path

    def _of_model(self, name: str) -> Iterator[tuple[str, Path]]:
        """The presets of this recipe's model, shipped ones before those beside the recipe."""
        for folder in reversed(self._folders):
            for path in sorted((folder / "model").glob(f"*/output/{name}.yaml")):
                model = path.parts[-3]
                if is_model(self._model, model):
                    yield model, path

    def _unknown(self, name: str, stage: str) -> RecipeError:
        there = sorted({path.stem for folder in self._folders for path in (folder / "output").glob("*.yaml")})
        close = nearest(name, there)
        return RecipeError(
            f"there is no preset {name} of output settings",
            where=self._recipe.where(("stages", stage, "output", "preset")),
            remedy=f"did you mean {close}?" if close else f"there are {', '.join(there) or 'none'}",
        )


def foreign_extras(recipe: Recipe, model: str) -> Iterator[str]:
    """What is said under `extra` of a model that this recipe does not run, one sentence each."""
    stages = recipe.get("stages")
    for stage in stages if isinstance(stages, Mapping) else ():
        extra = recipe.at(("stages", stage, "output", "extra"))
        for key in extra if isinstance(extra, Mapping) else ():
            path = ("stages", str(stage), "output", "extra", str(key))
            if not is_model(model, str(key)):
                named = f"this recipe runs {model}" if model else "this recipe names no model"
                close = nearest(str(key), {"_".join(model.split("_")[:n]) for n in range(1, model.count("_") + 2)})
                advice = f"; did you mean {close}?" if close else ""
                yield f"{recipe.where(path)}: {'.'.join(path)} has no effect: {named}{advice}"


def _checked(preset: Recipe, model: type[BaseModel]) -> Recipe:
    try:
        model.model_validate(dict(preset))
    except ValidationError as error:
        raise combined(faults_from_pydantic(error, preset, (), model)) from error
    return preset


def _origins(preset: Recipe, under: KeyPath) -> dict[KeyPath, str]:
    def leaves(values: Mapping[str, Any], path: KeyPath) -> Iterator[KeyPath]:
        for key, value in values.items():
            inner = (*path, str(key))
            if isinstance(value, Mapping):
                yield from leaves(value, inner)
            else:
                yield inner

    return {(*under, *path): preset.origin(path) or str(preset.source) for path in leaves(preset, ())}


def _merged(under: Mapping[str, Any], over: Mapping[str, Any]) -> dict[str, Any]:
    merged = copy.deepcopy(dict(under))
    for key, value in over.items():
        held = merged.get(key)
        both = isinstance(held, Mapping) and isinstance(value, Mapping)
        merged[key] = _merged(held, value) if both else copy.deepcopy(value)  # type: ignore[arg-type]
    return merged
