"""Bits by module in the vendor's recipes: in `module_precisions`, or in an exceptions file.

1. Fewer bits than qairt supports for a module are raised to the fewest it supports, with a note; more are an error.
2. Names of the vendor's own graph are known for the embedding, lm_head, norms, keys and values; others are an error.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from qairt.errors import RecipeError
from qairt.files import read_json
from qairt.recipe.file_settings import search_for
from qairt.recipe.files import RecipeFile
from qairt.recipe.recipe import Recipe
from qairt.recipe.source import KeyPath

_BITS = {"lm_head": (8,), "embedding": (8, 16), "rms_norm": (8, 16), "kv_cache": (8, 16)}
"""Supported bits, fewest first."""
_TECHNIQUE_SETTINGS: Mapping[str, tuple[str, ...]] = {
    "block_size": ("technique", "block_size"),
    "decompressed_bitwidth": ("technique", "decompressed_bitwidth"),
    "decompressed_bw": ("technique", "decompressed_bitwidth"),
    "candidates": ("technique", "candidates"),
    "num_candidates": ("technique", "candidates"),
    "num_calibration_batches": ("calibration_chunks",),
    "num_batches": ("calibration_chunks",),
}
"""Setting of a technique in the vendor's recipes, and its place in `stages.quantization`."""
_FIXED_OF_TECHNIQUE: Mapping[str, tuple[object, str]] = {
    "block_grouping": (1, "every block has its own scale"),
    "symmetric": (True, "weights in blocks are symmetric"),
}
"""A setting with one possible value, and why."""
_GRAPH_NAMES = (
    ("embed_tokens", "embedding"),
    ("lm_head", "lm_head"),
    ("QuantizedRmsNorm", "rms_norm"),
    ("self_attn_Concat", "kv_cache"),
    ("v_proj", "kv_cache"),
)
"""Part of a name in the vendor's graph, and its module; `self_attn_Concat_1` outputs the keys, `v_proj` the values."""


@dataclass
class Precisions:
    """The precisions of a recipe; each with the path where it was written."""

    moved: list[tuple[KeyPath, KeyPath, object]] = field(default_factory=list)
    """Old path, setting of `stages.quantization`, value."""
    notes: list[tuple[KeyPath, str]] = field(default_factory=list)
    faults: list[tuple[KeyPath, str]] = field(default_factory=list)

    def add(self, path: KeyPath, module: str, requested: int) -> None:
        """A module's bits, raised to the fewest that are supported (rule 1)."""
        possible = [bits for bits in _BITS[module] if bits >= requested]
        if not possible:
            self.faults.append((path, f"{module} can have {' or '.join(map(str, _BITS[module]))} bits"))
            return
        if possible[0] != requested:
            self.notes.append((path, f"{module} gets {possible[0]} bits, the fewest that qairt supports for it"))
        self.moved.append((path, ("technique", "module_precisions", module), possible[0]))


def read_precisions(recipe: Recipe, quantization: object) -> Precisions:
    """The precisions in a vendor's `quantization` stage.

    Raises:
        RecipeError: an exceptions file does not exist or cannot be read.
    """
    found = Precisions()
    path: KeyPath = ("stages", "quantization")
    if not isinstance(quantization, Mapping):
        return found
    _settings(found, recipe, quantization, path, of_technique=False)
    techniques = quantization.get("technique_kwargs")
    for name, values in techniques.items() if isinstance(techniques, Mapping) else ():
        if isinstance(values, Mapping):
            _settings(found, recipe, values, (*path, "technique_kwargs", str(name)), of_technique=True)
    return found


def _settings(
    found: Precisions, recipe: Recipe, values: Mapping[object, object], prefix: KeyPath, *, of_technique: bool
) -> None:
    for key, value in values.items():
        path = (*prefix, str(key))
        if key == "module_precisions" and isinstance(value, Mapping):
            for module, requested in value.items():
                _module(found, str(module), requested, (*path, str(module)))
        elif key == "exceptions_json":
            _exceptions(found, recipe, str(value), path)
        elif of_technique and key in _TECHNIQUE_SETTINGS:
            found.moved.append((path, _TECHNIQUE_SETTINGS[str(key)], value))
        elif of_technique and (key, value) in [(name, only) for name, (only, _) in _FIXED_OF_TECHNIQUE.items()]:
            continue
        elif of_technique and key in _FIXED_OF_TECHNIQUE:
            found.faults.append((path, _FIXED_OF_TECHNIQUE[str(key)][1]))
        elif of_technique:
            found.faults.append((path, "qairt does not know this setting"))


def _module(found: Precisions, module: str, requested: object, path: KeyPath) -> None:
    if module == "custom" and isinstance(requested, Mapping):
        for pattern, values in requested.items():
            _custom(found, str(pattern), values, (*path, str(pattern)))
        return
    bits = _bits_of(requested)
    if module not in _BITS or bits is None:
        found.faults.append((path, "qairt does not know this module" if module not in _BITS else "it has no precision"))
        return
    found.add(path, module, bits)


def _custom(found: Precisions, pattern: str, values: object, path: KeyPath) -> None:
    module = next((module for part, module in _GRAPH_NAMES if part in pattern), None)
    bits = _bits_of(values)
    if module is None or bits is None:
        found.faults.append((path, "it is a name in the vendor's graph, which qairt does not use"))
        return
    found.add(path, module, bits)


def _bits_of(values: object) -> int | None:
    """`{weight_precision: int8, …}` or `int8` -> 8; None where there is no width."""
    if isinstance(values, Mapping):
        values = values.get("weight_precision", values.get("activation_precision"))
    word = re.fullmatch(r"u?int(\d+)", str(values))
    return int(word[1]) if word else values if isinstance(values, int) else None


def _exceptions(found: Precisions, recipe: Recipe, name: str, path: KeyPath) -> None:
    search = search_for(recipe, path, RecipeFile(), name)
    file = search.find()
    if file is None:
        raise recipe.located(search.error(".".join(path)))
    try:
        data = read_json(file)
        entries = [(kind, entry) for kind in ("module_list", "name_list") for entry in data.get(kind) or ()]
        for _, entry in entries:
            _exception(found, str(entry["module_name"]), entry["exceptions"] or {}, path)
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        is_read = not isinstance(error, OSError | ValueError)
        raise RecipeError(
            f"{file} is not an exceptions file: {'an entry is not {module_name, exceptions}' if is_read else error}",
            where=recipe.where(path),
            remedy="use JSON with module_list and name_list",
        ) from error


def _exception(found: Precisions, name: str, exceptions: Mapping[str, Any], path: KeyPath) -> None:
    """One entry of an exceptions file; `name` becomes the last step of its path."""
    entry = (*path, name)
    module = next((module for part, module in _GRAPH_NAMES if part in name), None)
    parameters = exceptions.get("param_exceptions") or {}
    tensors = [*(exceptions.get("input_exceptions") or ()), *(exceptions.get("output_exceptions") or ())]
    widths = [int(each["bitwidth"]) for each in (parameters, *tensors) if each.get("bitwidth") is not None]
    if module is not None and widths:
        found.add(entry, module, widths[0])
    elif not widths:
        found.notes.append((entry, "of a norm, only the input and output are quantized"))
    elif all(width >= 16 for width in widths):
        found.notes.append((entry, "activations have 16 bits unless stages.quantize.act_bitwidth is set"))
    else:
        found.faults.append((entry, "it is a name in the vendor's graph, which qairt does not use"))
