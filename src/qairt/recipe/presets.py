"""Output presets: files with defaults for `stages.<stage>.output`, chosen by name. Later ones override earlier ones:

    output/torch.default.yaml                    `output` of every stage that can write it, for every model
    model/<model>/output/torch.default.yaml      `output.extra.<model>`, if the recipe runs that model
    the recipe
    the command line

Each file is looked for beside the recipe, then among those that qairt ships.
"""

from __future__ import annotations

import copy
import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from pydantic import BaseModel, ValidationError

from qairt.errors import RecipeError
from qairt.recipe.faults import combined, faults_from_pydantic
from qairt.recipe.files import shipped_recipes
from qairt.recipe.names import nearest
from qairt.recipe.output_settings import (
    DEFAULT_PRESET,
    KINDS,
    ModelOutput,
    OutputKind,
    OutputSettings,
    is_model,
    model_name,
)
from qairt.recipe.recipe import Recipe
from qairt.recipe.source import KeyPath

_NAME = re.compile(r"\w[\w.-]*")


Values = dict[str, object]


class OutputPresets:
    """The presets that a recipe's stages use; each file is read once.

    Args:
        recipe: with the overrides of the command line applied.
    """

    def __init__(self, recipe: Recipe) -> None:
        self._recipe = recipe
        self._model = model_name(recipe.get("model_id_or_path"))
        beside = recipe.source.parent if recipe.source else None
        self._folders = [folder for folder in (beside, shipped_recipes()) if folder is not None]
        self._read_presets: dict[str, tuple[Values, dict[KeyPath, str]]] = {}
        """By name: the values, and where each of them was written."""
        self._custom: set[str] = set()
        """Names of presets with a file beside the recipe."""

    def output_of(self, stage: str, own: object, kinds: Sequence[OutputKind]) -> object:
        """The merged `output` of a stage; the recipe remembers which values come from a preset.

        A preset speaks to every stage: what it enables is taken over by the stages that can write it.

        Args:
            own: the value in the recipe, with overrides.
            kinds: of output that the stage can write.

        Raises:
            RecipeError: the preset does not exist, or has an unknown setting.
        """
        own = {} if own is None else own
        if not isinstance(own, Mapping):
            return own
        name = own.get("preset", DEFAULT_PRESET)
        if not isinstance(name, str):
            return own
        if not _NAME.fullmatch(name):
            raise self._unknown(name, stage)
        if name not in self._read_presets:
            self._read_presets[name] = self._read(name, stage)
        values, origins = self._read_presets[name]
        able = {key: value for key, value in values.items() if key in kinds or key not in KINDS}
        for path, value in _leaves(able, ()):
            full = ("stages", stage, "output", *path)
            if self._recipe.at(full) is None:
                self._recipe.note_preset(full, origins[path], value)
        return _merged(able, own)

    def _read(self, name: str, stage: str) -> tuple[Values, dict[KeyPath, str]]:
        values: Values = {}
        origins: dict[KeyPath, str] = {}
        general = [*self._general(name)][:1]
        of_model = [*self._of_model(name)]
        if not general and not of_model:
            raise self._unknown(name, stage)
        for path in general:
            preset = _checked(Recipe.from_file(path), OutputSettings)
            values, origins = _merged(values, preset), origins | _origins(preset, ())
        for model, path in of_model:
            preset = _checked(Recipe.from_file(path), ModelOutput)
            values = _merged(values, {"extra": {model: dict(preset)}})
            origins |= _origins(preset, ("extra", model))
        shipped = shipped_recipes()
        if not all(path.is_relative_to(shipped) for path in (*general, *(path for _, path in of_model))):
            self._custom.add(name)
        return values, origins

    def inline(self, stage: str, settings: OutputSettings) -> None:
        """Write output settings that come from presets beside the recipe into the recipe itself.

        The copy that is kept with the cache then means the same from anywhere.
        """
        stages = self._recipe["stages"]
        if settings.preset in self._custom:
            own = {self._model: settings.of_model(self._model)} if self._model else {}
            complete = settings.model_copy(update={"preset": DEFAULT_PRESET, "extra": settings.extra | own})
            stages[stage] = {**(stages[stage] or {}), "output": complete.model_dump(mode="json")}

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
        known = sorted({path.stem for folder in self._folders for path in (folder / "output").glob("*.yaml")})
        close = nearest(name, known)
        return RecipeError(
            f"there is no output preset {name}",
            where=self._recipe.where(("stages", stage, "output", "preset")),
            remedy=f"did you mean {close}?" if close else f"the presets are {', '.join(known) or 'none'}",
        )


def unused_extras(recipe: Recipe, model: str) -> Iterator[str]:
    """One sentence for each entry of `extra` for a model that this recipe does not run."""
    stages = recipe.get("stages")
    for stage in stages if isinstance(stages, Mapping) else ():
        extra = recipe.at(("stages", stage, "output", "extra"))
        for key in extra if isinstance(extra, Mapping) else ():
            path = ("stages", str(stage), "output", "extra", str(key))
            if not is_model(model, str(key)):
                runs = f"this recipe runs {model}" if model else "this recipe names no model"
                close = nearest(str(key), {"_".join(model.split("_")[:n]) for n in range(1, model.count("_") + 2)})
                advice = f"; did you mean {close}?" if close else ""
                yield f"{recipe.where(path)}: {'.'.join(path)} has no effect: {runs}{advice}"


def _checked(preset: Recipe, model: type[BaseModel]) -> Recipe:
    try:
        model.model_validate(dict(preset))
    except ValidationError as error:
        raise combined(faults_from_pydantic(error, preset, (), model)) from error
    return preset


def _origins(preset: Recipe, prefix: KeyPath) -> dict[KeyPath, str]:
    return {(*prefix, *path): preset.origin(path) or str(preset.source) for path, _ in _leaves(preset, ())}


def _leaves(values: Mapping[str, object], path: KeyPath) -> Iterator[tuple[KeyPath, object]]:
    for key, value in values.items():
        inner = (*path, str(key))
        if isinstance(value, Mapping):
            yield from _leaves(value, inner)
        else:
            yield inner, value


def _merged(base: Mapping[str, object], over: Mapping[str, object]) -> Values:
    merged = copy.deepcopy(dict(base))
    for key, value in over.items():
        held = merged.get(key)
        both = isinstance(held, Mapping) and isinstance(value, Mapping)
        merged[key] = _merged(held, value) if both else copy.deepcopy(value)  # type: ignore[arg-type]
    return merged
