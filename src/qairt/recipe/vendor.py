"""Recipes written for the vendor's own pipeline, read as ours: `model_loader`, `quantization` and `genai_builder`.

1. Each of its settings is moved to its counterpart, and keeps the line it was written on.
2. A setting without a counterpart is named with its line. Where qairt would give another result because of it, and not
   merely a faster, larger or more precise one, it is an error.
3. `genai_builder` stands for all stages from `export` to `export_bundle`.

Source: the names are those of public recipes, such as microsoft/olive-recipes, `microsoft-Phi-4-reasoning/QAIRT`.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from qairt.errors import RecipeError
from qairt.recipe.faults import combined
from qairt.recipe.recipe import Recipe
from qairt.recipe.source import KeyPath
from qairt.recipe.vendor_precisions import read_precisions

LOADER, QUANTIZATION, BUILDER = "model_loader", "quantization", "genai_builder"
_TOP = ("enable_cache", "enable_observers", "log_level", "generator_config")
_BUILT = (
    "export",
    "prepare_exports",
    "split_model",
    "mha_to_sha_conversion",
    "convert",
    "quantize",
    "generate_context_binary",
    "export_bundle",
)
_LENGTHS = ("stages", "prepare_exports", "context_length")

Places = tuple[KeyPath, ...]

MOVED: dict[str, Places] = {
    "generator_config.context_length": (("generator", "context_length"),),
    "quantization.recipe_name": (("stages", "quantization", "recipe"),),
    "genai_builder.transform_options.arn": (("stages", "prepare_exports", "arn"),),
    "genai_builder.transform_options.context_length": (_LENGTHS,),
    "genai_builder.transform_options.split.num_splits": (("stages", "split_model", "num_splits"),),
    "genai_builder.calibration_options.act_precision": (
        ("stages", "quantization", "act_bitwidth"),
        ("stages", "quantize", "act_bitwidth"),
    ),
    "genai_builder.calibration_options.bias_precision": (("stages", "quantize", "bias_bitwidth"),),
    "genai_builder.compile_options.graphs.optimization_type": (
        ("stages", "generate_context_binary", "optimization_level"),
    ),
}
"""Settings that have a counterpart, by their dotted names."""

BUILT_IN: dict[str, tuple[Any, str, bool]] = {
    "enable_cache": (True, "finished work is always kept; `--force STAGE` makes a stage anew", False),
    "enable_observers": (True, "every run is measured", False),
    "model_loader.model_reauthoring": (True, "graphs are always built for the NPU", False),
    "model_loader.apply_default_adaptations": (True, "graphs are always built for the NPU", False),
    "model_loader.model_config_overrides.transposed_key_cache": (True, "keys are always kept transposed", True),
    "model_loader.model_config_overrides.return_new_key_value_only": (
        True,
        "a graph always gives the new keys and values only",
        True,
    ),
    "model_loader.model_config_overrides.num_logits_to_keep": (
        0,
        "a graph always gives the logits of all tokens",
        True,
    ),
    "genai_builder.weight_sharing": (True, "a binary always holds its weights once", False),
    "genai_builder.prepare_embedding_lut": (False, "the embedding is part 1", False),
    "genai_builder.transform_options.split.split_embedding": (True, "part 1 is always the embedding alone", False),
    "genai_builder.transform_options.split.split_lm_head": (False, "lm_head is in the last part, with layers", False),
    "genai_builder.compile_options.devices.cores.perf_profile": ("burst", "the profile is always burst", False),
}
"""Settings of which qairt knows one value: that value, what it means, and whether another changes the result."""

NO_COUNTERPART: dict[str, str] = {
    "log_level": "every item has a log of its own",
    "generator_config.sequence_length": "the prompt is read in calls of the largest AR",
    "model_loader.hf_tokenizer_kwargs": "the tokenizer is read from tokenizer.json",
    "model_loader.hf_pretrained_kwargs": "weights are read tensor by tensor and computed with in float32",
    "model_loader.model_config_overrides.input_tokens_per_inference": (
        "calibration reads sequences of stages.quantization.calibration_length tokens"
    ),
    "genai_builder.native_kv": "keys and values have the graph's own layout",
    "genai_builder.multi_graph": "a binary holds the graphs of all ARs and context lengths of a part",
    "genai_builder.compile_options": "it changes speed, not values",
}
"""Beginnings of settings that change nothing in the result."""


@dataclass
class _Reading:
    """One recipe on its way."""

    recipe: Recipe
    notes: list[str] = field(default_factory=list)
    faults: list[RecipeError] = field(default_factory=list)
    moves: list[tuple[KeyPath, Any, KeyPath]] = field(default_factory=list)
    """New place, value, old place."""

    def note(self, path: KeyPath, why: str) -> None:
        self.notes.append(f"{self.recipe.where(path)}: {'.'.join(path)} has no counterpart: {why}")

    def fault(self, path: KeyPath, why: str) -> None:
        remedy = "take it out, or write the recipe with qairt's own stages (`qairt init`)"
        what = f"{'.'.join(path)} has no counterpart, and the result would be another one: {why}"
        self.faults.append(RecipeError(what, where=self.recipe.where(path), remedy=remedy))


def is_vendor_recipe(recipe: Recipe) -> bool:
    """Whether a recipe is written for the vendor's pipeline."""
    stages = recipe.get("stages")
    return isinstance(stages, Mapping) and (LOADER in stages or BUILDER in stages)


def read_vendor_recipe(recipe: Recipe) -> list[str]:
    """Turn such a recipe into one of ours, in place; any other is left as it is.

    Returns:
        What has no counterpart, one sentence with `file:line` each.

    Raises:
        RecipeError: it asks for what would give another result; names every such setting with its line.
    """
    if not is_vendor_recipe(recipe):
        return []
    reading = _Reading(recipe)
    for path, value in [*_written(recipe)]:
        _read(reading, path, value)
    found = read_precisions(recipe, _under(recipe, QUANTIZATION))
    for old, setting, value in found.moved:
        reading.moves.append((("stages", "quantization", "technique", *setting), value, old))
    for old, why in found.notes:
        reading.note(old, why)
    for old, why in found.faults:
        reading.fault(old, why)
    if reading.faults:
        raise combined(reading.faults)
    _rebuild(reading)
    return sorted(reading.notes, key=_by_line)


def _written(recipe: Recipe) -> Iterator[tuple[KeyPath, Any]]:
    """The vendor's settings, leaf by leaf, precisions left out."""
    for key in _TOP:
        if key in recipe:
            yield from _leaves(recipe[key], (key,))
    for stage in (LOADER, BUILDER):
        yield from _leaves(_under(recipe, stage), ("stages", stage))
    for path, value in _leaves(_under(recipe, QUANTIZATION), ("stages", QUANTIZATION)):
        if path[2:3] == ("recipe_name",):
            yield path, value


def _under(recipe: Recipe, stage: str) -> Any:
    return recipe["stages"].get(stage) or {}


def _leaves(value: Any, path: KeyPath) -> Iterator[tuple[KeyPath, Any]]:
    if isinstance(value, Mapping):
        for key, inner in value.items():
            yield from _leaves(inner, (*path, str(key)))
    else:
        yield path, value


def _read(reading: _Reading, path: KeyPath, value: Any) -> None:
    name = ".".join(path[1:] if path[0] == "stages" else path)
    if name in MOVED:
        for new in MOVED[name]:
            reading.moves.append((new, _converted(name, value), path))
    elif name in BUILT_IN:
        only, why, matters = BUILT_IN[name]
        if value != only:
            (reading.fault if matters else reading.note)(path, why)
    elif why := next((why for start, why in NO_COUNTERPART.items() if f"{name}.".startswith(f"{start}.")), ""):
        reading.note(path, why)
    else:
        reading.fault(path, "qairt does not know this setting")


def _converted(name: str, value: Any) -> Any:
    """`lpbq_seqmse` is a file for us."""
    if name == "quantization.recipe_name" and isinstance(value, str) and not value.endswith((".yaml", ".yml")):
        return f"{value}.yaml"
    return value


def _rebuild(reading: _Reading) -> None:
    """Put our stages where the vendor's were, then every setting in its place."""
    recipe = reading.recipe
    lengths = {new: value for new, value, _ in reading.moves}
    for new, value, old in [*reading.moves]:
        if new == ("generator", "context_length") and _LENGTHS not in lengths:
            reading.moves.append((_LENGTHS, value, old))
    places: dict[str, tuple[str, ...]] = {LOADER: ("model_loading",), BUILDER: _BUILT}
    theirs = recipe["stages"]
    ours: dict[str, Any] = {}
    origins: dict[str, KeyPath] = {}
    for stage, values in theirs.items():
        for name in places.get(str(stage), (str(stage),)):
            own = stage not in places and stage != QUANTIZATION
            ours[name] = values if own else _kept(values) if stage == QUANTIZATION else {}
            origins[name] = ("stages", str(stage))
    for key in _TOP:
        recipe.pop(key, None)
    recipe["stages"] = ours
    for name, old in origins.items():
        if ("stages", name) != old:
            recipe.put(("stages", name), ours[name], like=old)
    for new, value, old in reading.moves:
        recipe.put(new, value, like=old)


_OWN_KEYS = ("recipe_name", "technique_kwargs", "module_precisions", "exceptions_json")


def _kept(values: Any) -> Any:
    """Settings of `quantization` that are ours as they are; what is no mapping is told where it is loaded."""
    if not isinstance(values, Mapping):
        return values or {}
    return {key: value for key, value in values.items() if key not in _OWN_KEYS}


def _by_line(note: str) -> tuple[int, str]:
    number = note.split(": ")[0].rpartition(":")[2]
    return (int(number) if number.isdecimal() else 0, note)
