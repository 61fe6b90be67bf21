"""Top-level keys of the vendor's documentation under the names they have here, in any recipe.

Source: the vendor's page "Pipeline Configuration", and its page on LoRA for `features`.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from pydantic import ValidationError

from qairt.errors import RecipeError
from qairt.recipe.configs import LoRAFeatureConfig, OnnxExporterConfig
from qairt.recipe.faults import combined, faults_from_pydantic, unknown_key
from qairt.recipe.names import nearest
from qairt.recipe.places import ABSENT, COMMAND_LINE, leaves
from qairt.recipe.recipe import Recipe
from qairt.recipe.source import KeyPath

OTHER_NAMES: Mapping[KeyPath, KeyPath] = {
    ("generator_config",): ("generator",),
    ("evaluator_config",): ("evaluator",),
    ("features", "lora"): ("lora",),
    ("lora", "use_cases"): ("lora", "concurrencies"),
}
"""A documented name, and its name here."""

EXPORTER = "exporter_config"
_VENDOR_STAGES = {"model_loader": "model_loading", "genai_builder": "export_bundle"}
"""A stage of the vendor's pipeline, and the one here whose result is its result."""


def apply_documented_keys(recipe: Recipe) -> list[str]:
    """Move documented keys to their names here; what they hold is checked with the other settings.

    Returns:
        The settings that have no effect, one sentence with `file:line` each.

    Raises:
        RecipeError: a setting is given under both names, or a feature is unknown; names every one.
    """
    faults: list[RecipeError] = []
    for old, new in OTHER_NAMES.items():
        if recipe.at(old) is None:
            if recipe.at(old, ABSENT) is None:
                recipe.take(old)
            continue
        for path, _ in [*leaves(recipe.at(old), old)]:
            faults += _move(recipe, path, (*new, *path[len(old) :]))
    faults += _other_features(recipe)
    notes = []
    if EXPORTER in recipe:
        value = recipe[EXPORTER]
        try:
            config = OnnxExporterConfig.model_validate(value or {})
            notes += [note_of_argument(recipe, (EXPORTER, "args", name)) for name in config.args]
        except ValidationError as error:
            faults += faults_from_pydantic(error, recipe, (EXPORTER,), OnnxExporterConfig)
        recipe.pop(EXPORTER)
    if faults:
        raise combined(faults)
    return notes


def apply_checkpoint(recipe: Recipe) -> None:
    """`checkpoint: STAGE` is the setting `checkpoint: true` of that stage, by qairt's name or the vendor's.

    Raises:
        RecipeError: the recipe has no such stage.
    """
    given, stages = recipe.get("checkpoint"), recipe.get("stages")
    if not isinstance(given, str) or not isinstance(stages, Mapping):
        return
    name = _VENDOR_STAGES.get(given, given)
    if name not in stages:
        close = nearest(name, map(str, stages))
        remedy = f"did you mean {close}?" if close else f"its stages: {', '.join(map(str, stages))}"
        raise RecipeError(
            f"checkpoint: the recipe has no stage {given}", where=recipe.where("checkpoint"), remedy=remedy
        )
    path = ("stages", name, "checkpoint")
    if recipe.at(path) is None:
        recipe.put(path, True, like=("checkpoint",))
    recipe.pop("checkpoint")


def unused_adapters(recipe: Recipe, lora: LoRAFeatureConfig | None) -> Iterator[str]:
    """One sentence for each LoRA adapter that no concurrency has."""
    if lora is None:
        return
    used = {name for concurrency in lora.concurrencies.values() for name in concurrency.adapters}
    for name in lora.adapters:
        if name not in used:
            where = recipe.where(("lora", "adapters", name))
            yield f"{where}: the LoRA adapter {name} is in none of lora.concurrencies: it is not used"


def _other_features(recipe: Recipe) -> Iterator[RecipeError]:
    """The faults of what is left in `features`."""
    features = recipe.pop("features", None)
    if features is not None and not isinstance(features, Mapping):
        where = recipe.where(("features",))
        yield RecipeError("features must be a mapping", where=where, remedy="write features: {lora: {…}}, or remove it")
        return
    for key in features or ():
        yield unknown_key(("features", str(key)), ["lora"], recipe.where(("features", str(key))))


def note_of_argument(recipe: Recipe, path: KeyPath) -> str:
    """The sentence about an argument of torch's ONNX exporter."""
    why = "qairt writes the ONNX graphs itself, without torch's exporter"
    return f"{recipe.where(path)}: {'.'.join(path)} has no effect: {why}"


def _move(recipe: Recipe, old: KeyPath, new: KeyPath) -> Iterator[RecipeError]:
    """Move one value. Of two names for it, the one on the command line takes precedence."""
    held = recipe.at(new, ABSENT)
    if held is ABSENT:
        recipe.move(old, new)
        return
    if recipe.origin(old) == COMMAND_LINE != recipe.origin(new):
        recipe.move(old, new)
        return
    where, other = recipe.where(old), recipe.where(new)
    value = recipe.take(old)
    if other != COMMAND_LINE and value is not None:
        what = f"{'.'.join(old)} is another name of {'.'.join(new)}, which is set too ({other})"
        yield RecipeError(what, where=where, remedy="remove one of them")
