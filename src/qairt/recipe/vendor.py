"""Recipes for the vendor's own pipeline (`model_loader`, `quantization`, `genai_builder`), translated to qairt's.

1. Each setting is moved to its equivalent, and keeps its line number.
2. A setting without an equivalent is reported with its line. It is an error if ignoring it would change the result by
   more than its speed, size or precision.
3. `genai_builder` becomes all stages from `export` to `export_bundle`.

Source: the names are those of public recipes, such as microsoft/olive-recipes, `microsoft-Phi-4-reasoning/QAIRT`.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

from qairt.errors import RecipeError
from qairt.recipe.faults import combined
from qairt.recipe.recipe import Recipe
from qairt.recipe.source import KeyPath
from qairt.recipe.vendor_precisions import read_precisions
from qairt.recipe.vendor_techniques import lacking_technique

LOADER, QUANTIZATION, BUILDER = "model_loader", "quantization", "genai_builder"
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

MOVED: dict[str, tuple[KeyPath, ...]] = {
    "model_loader.execution_environment": (("execution_environment", "device"),),
    "quantization.recipe_name": (("stages", "quantization", "recipe"),),
    "genai_builder.transform_options.arn": (("stages", "prepare_exports", "arn"),),
    "genai_builder.transform_options.context_length": (_LENGTHS,),
    "genai_builder.transform_options.split.num_splits": (("stages", "split_model", "num_splits"),),
    "genai_builder.transform_options.split.split_lm_head": (("stages", "split_model", "split_lm_head"),),
    "genai_builder.calibration_options.act_precision": (
        ("stages", "quantization", "act_bitwidth"),
        ("stages", "quantize", "act_bitwidth"),
    ),
    "genai_builder.calibration_options.bias_precision": (("stages", "quantize", "bias_bitwidth"),),
    "genai_builder.compile_options.graphs.optimization_type": (
        ("stages", "generate_context_binary", "optimization_level"),
    ),
    **{
        f"genai_builder.{group}{theirs}": (("stages", "generate_context_binary", ours),)
        for group in ("", "compile_options.", "compile_options.graphs.", "compile_options.context.")
        for theirs, ours in (
            ("vtcm_size_in_mb", "vtcm_mb"),
            ("vtcm_mb", "vtcm_mb"),
            ("extended_udma", "extended_udma"),
        )
    },
}
"""The equivalents of settings, by dotted name. Recipes have the compiler's in several groups."""


@dataclass(frozen=True)
class _Fixed:
    """A setting for which qairt has one value only."""

    value: bool | int | str
    why: str
    changes_result: bool = False
    """Whether another value would change the result."""


FIXED: dict[str, _Fixed] = {
    "model_loader.model_reauthoring": _Fixed(True, "graphs are always built for the NPU"),
    "model_loader.apply_default_adaptations": _Fixed(True, "graphs are always built for the NPU"),
    "model_loader.model_config_overrides.transposed_key_cache": _Fixed(
        True, "the key cache is always transposed", changes_result=True
    ),
    "model_loader.model_config_overrides.return_new_key_value_only": _Fixed(
        True, "a graph always returns the new keys and values only", changes_result=True
    ),
    "model_loader.model_config_overrides.num_logits_to_keep": _Fixed(
        0, "a graph always returns the logits of all tokens", changes_result=True
    ),
    "genai_builder.weight_sharing": _Fixed(True, "the graphs in a binary always share their weights"),
    "genai_builder.prepare_embedding_lut": _Fixed(False, "the embedding is part 1"),
    "genai_builder.transform_options.split.split_embedding": _Fixed(True, "part 1 is always the embedding alone"),
    "genai_builder.compile_options.devices.cores.perf_profile": _Fixed("burst", "the profile is always burst"),
}

_HVX = "the wheel's compiler takes no number of vector threads: a graph uses all that the chip has"
_EXPORTER = "the ONNX graphs are written by qairt itself, without torch's exporter"

IGNORED: dict[str, str] = {
    "model_loader.hf_tokenizer_kwargs": "the tokenizer is read from tokenizer.json",
    "model_loader.hf_pretrained_kwargs": "weights are read tensor by tensor, and computed in float32",
    "model_loader.model_config_overrides.input_tokens_per_inference": (
        "calibration uses sequences of stages.quantization.calibration_length tokens"
    ),
    "model_loader.exporter_config": _EXPORTER,
    "quantization.exporter_config": _EXPORTER,
    "genai_builder.exporter_config": _EXPORTER,
    "genai_builder.native_kv": (
        "keys and values have the layout of the graph: the wheel's compiler makes none in the NPU's own"
    ),
    "genai_builder.hvx_threads": _HVX,
    "genai_builder.compile_options.hvx_threads": _HVX,
    "genai_builder.compile_options.graphs.hvx_threads": _HVX,
    "genai_builder.multi_graph": "a binary contains the graphs of all ARs and context lengths of a part",
    "genai_builder.compile_options": "it changes speed, not values",
}
"""Prefixes of settings that do not change the result, with the reason."""


@dataclass
class _Translation:
    """The translation of one recipe."""

    recipe: Recipe
    notes: list[str] = field(default_factory=list)
    faults: list[RecipeError] = field(default_factory=list)
    moves: list[tuple[KeyPath, object, KeyPath]] = field(default_factory=list)
    """New path, value, old path."""

    def note(self, path: KeyPath, why: str) -> None:
        self.notes.append(f"{self.recipe.where(path)}: {'.'.join(path)} has no equivalent: {why}")

    def fault(self, path: KeyPath, why: str) -> None:
        remedy = "remove it, or write the recipe with qairt's own stages (`qairt init`)"
        what = f"{'.'.join(path)} has no equivalent, and ignoring it would change the result: {why}"
        self.faults.append(RecipeError(what, where=self.recipe.where(path), remedy=remedy))

    def lack(self, path: KeyPath, technique: str, nearest: str) -> None:
        what = f"{'.'.join(path)}: qairt has no technique {technique}"
        remedy = f"the nearest one is {nearest}; `qairt recipes` lists them"
        self.faults.append(RecipeError(what, where=self.recipe.where(path), remedy=remedy))


def is_vendor_recipe(recipe: Recipe) -> bool:
    """Whether a recipe is for the vendor's pipeline."""
    stages = recipe.get("stages")
    return isinstance(stages, Mapping) and (LOADER in stages or BUILDER in stages)


def read_vendor_recipe(recipe: Recipe) -> list[str]:
    """Translate a vendor's recipe in place; any other recipe is not changed.

    Returns:
        The settings that are ignored, one sentence with `file:line` each.

    Raises:
        RecipeError: a setting cannot be ignored; names every one with its line.
    """
    if not is_vendor_recipe(recipe):
        return []
    translation = _Translation(recipe)
    for path, value in [*_settings(recipe)]:
        _translate(translation, path, value)
    precisions = read_precisions(recipe, _stage(recipe, QUANTIZATION))
    for old, setting, bits in precisions.moved:
        translation.moves.append((("stages", "quantization", *setting), bits, old))
    for old, why in precisions.notes:
        translation.note(old, why)
    for old, why in precisions.faults:
        translation.fault(old, why)
    if translation.faults:
        raise combined(translation.faults)
    _rebuild(translation)
    return sorted(translation.notes, key=_line_of)


def _settings(recipe: Recipe) -> Iterator[tuple[KeyPath, object]]:
    """Path and value of each of the vendor's settings, except precisions."""
    for stage in (LOADER, BUILDER):
        yield from _leaves(_stage(recipe, stage), ("stages", stage))
    for path, value in _leaves(_stage(recipe, QUANTIZATION), ("stages", QUANTIZATION)):
        if path[2:3] in (("recipe_name",), ("exporter_config",)):
            yield path, value


def _stage(recipe: Recipe, stage: str) -> object:
    return recipe["stages"].get(stage) or {}


def _leaves(value: object, path: KeyPath) -> Iterator[tuple[KeyPath, object]]:
    if isinstance(value, Mapping):
        for key, inner in value.items():
            yield from _leaves(inner, (*path, str(key)))
    else:
        yield path, value


def _translate(translation: _Translation, path: KeyPath, value: object) -> None:
    name = ".".join(path[1:] if path[0] == "stages" else path)
    if name == "quantization.recipe_name" and (nearest := lacking_technique(translation.recipe, value)):
        translation.lack(path, str(value), nearest)
    elif name in MOVED:
        for new in MOVED[name]:
            translation.moves.append((new, _converted(name, value), path))
    elif name in FIXED:
        fixed = FIXED[name]
        if value != fixed.value:
            (translation.fault if fixed.changes_result else translation.note)(path, fixed.why)
    elif why := next((why for prefix, why in IGNORED.items() if f"{name}.".startswith(f"{prefix}.")), ""):
        translation.note(path, why)
    else:
        translation.fault(path, "qairt does not know this setting")


def _converted(name: str, value: object) -> object:
    """The value in qairt's form: `lpbq_seqmse` becomes a file name, `gpu` a GPU if there is one."""
    if name == "model_loader.execution_environment" and value == "gpu":
        return "auto"
    if name.endswith((".vtcm_size_in_mb", ".vtcm_mb")) and value == 0:
        return None  # all that the chip has
    if name == "quantization.recipe_name" and isinstance(value, str) and not value.endswith((".yaml", ".yml")):
        return f"{value}.yaml"
    return value


def _rebuild(translation: _Translation) -> None:
    """Replace the vendor's stages by qairt's, then move every setting."""
    recipe = translation.recipe
    length = ("generator", "context_length")
    if _LENGTHS not in {new for new, _, _ in translation.moves} and recipe.at(length) is not None:
        translation.moves.append((_LENGTHS, recipe.at(length), length))
    replacements: dict[str, tuple[str, ...]] = {LOADER: ("model_loading",), BUILDER: _BUILT}
    stages: dict[str, object] = {}
    origins: dict[str, KeyPath] = {}
    for stage, values in recipe["stages"].items():
        for name in replacements.get(str(stage), (str(stage),)):
            own = stage not in replacements and stage != QUANTIZATION
            stages[name] = values if own else _without_vendor_keys(values) if stage == QUANTIZATION else {}
            origins[name] = ("stages", str(stage))
    recipe["stages"] = stages
    for name, old in origins.items():
        if ("stages", name) != old:
            recipe.put(("stages", name), stages[name], like=old)
    for new, value, old in translation.moves:
        recipe.put(new, value, like=old)


_VENDOR_KEYS = ("recipe_name", "technique_kwargs", "module_precisions", "exceptions_json", "exporter_config")


def _without_vendor_keys(values: object) -> object:
    """The settings of `quantization` that qairt has too; a value that is not a mapping is reported later."""
    if not isinstance(values, Mapping):
        return values or {}
    return {key: value for key, value in values.items() if key not in _VENDOR_KEYS}


def _line_of(note: str) -> tuple[int, str]:
    number = note.split(": ")[0].rpartition(":")[2]
    return (int(number) if number.isdecimal() else 0, note)
