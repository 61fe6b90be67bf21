"""Bits by module, as the vendor's recipes give them: in `module_precisions`, or in a file of exceptions.

1. Fewer bits than qairt has for a module become the fewest it has, and that is said; more are an error.
2. Names of the vendor's own graph are known for embedding, lm_head, norms, keys and values; others are an error.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from qairt.errors import RecipeError
from qairt.recipe.file_settings import search_for
from qairt.recipe.files import RecipeFile
from qairt.recipe.recipe import Recipe
from qairt.recipe.source import KeyPath

_BITS = {"lm_head": (8,), "embedding": (8, 16), "rms_norm": (8, 16), "kv_cache": (8, 16)}
"""What qairt has, fewest first."""
_TECHNIQUE_SETTINGS = ("block_size", "decompressed_bitwidth", "candidates")
_GRAPH_NAMES = (
    ("embed_tokens", "embedding"),
    ("lm_head", "lm_head"),
    ("QuantizedRmsNorm", "rms_norm"),
    ("self_attn_Concat", "kv_cache"),
    ("v_proj", "kv_cache"),
)
"""What in a vendor's name tells the module; keys are what `self_attn_Concat_1` gives, values what `v_proj` gives."""


@dataclass
class Precisions:
    """What was found; each with the path it was written at."""

    moved: list[tuple[KeyPath, KeyPath, Any]] = field(default_factory=list)
    """Old place, setting of the technique, value."""
    notes: list[tuple[KeyPath, str]] = field(default_factory=list)
    faults: list[tuple[KeyPath, str]] = field(default_factory=list)

    def bits(self, path: KeyPath, module: str, asked: int) -> None:
        """A module's bits, as near as qairt comes (rule 1)."""
        fitting = [bits for bits in _BITS[module] if bits >= asked]
        if not fitting:
            self.faults.append((path, f"{module} can have {' or '.join(map(str, _BITS[module]))} bits"))
            return
        if fitting[0] != asked:
            self.notes.append((path, f"{module} gets {fitting[0]} bits, the fewest qairt has for it"))
        self.moved.append((path, ("module_precisions", module), fitting[0]))


def read_precisions(recipe: Recipe, quantization: Any) -> Precisions:
    """The precisions that a vendor's `quantization` stage asks for.

    Raises:
        RecipeError: a file of exceptions cannot be read.
    """
    found = Precisions()
    at: KeyPath = ("stages", "quantization")
    if not isinstance(quantization, Mapping):
        return found
    _settings(found, recipe, quantization, at, own=False)
    techniques = quantization.get("technique_kwargs")
    for name, values in techniques.items() if isinstance(techniques, Mapping) else ():
        if isinstance(values, Mapping):
            _settings(found, recipe, values, (*at, "technique_kwargs", str(name)), own=True)
    return found


def _settings(found: Precisions, recipe: Recipe, values: Mapping[Any, Any], at: KeyPath, *, own: bool) -> None:
    for key, value in values.items():
        path = (*at, str(key))
        if key == "module_precisions" and isinstance(value, Mapping):
            for module, asked in value.items():
                _module(found, str(module), asked, (*path, str(module)))
        elif key == "exceptions_json":
            _exceptions(found, recipe, str(value), path)
        elif own and key in _TECHNIQUE_SETTINGS:
            found.moved.append((path, (str(key),), value))
        elif own:
            found.faults.append((path, "qairt does not know this setting"))


def _module(found: Precisions, module: str, asked: Any, path: KeyPath) -> None:
    if module == "custom" and isinstance(asked, Mapping):
        for pattern, values in asked.items():
            _custom(found, str(pattern), values, (*path, str(pattern)))
        return
    bits = _bits_of(asked)
    if module not in _BITS or bits is None:
        found.faults.append((path, "qairt does not know it" if module not in _BITS else "it names no precision"))
        return
    found.bits(path, module, bits)


def _custom(found: Precisions, pattern: str, values: Any, path: KeyPath) -> None:
    module = next((module for part, module in _GRAPH_NAMES if part in pattern), None)
    bits = _bits_of(values)
    if module is None or bits is None:
        found.faults.append((path, "the name is one of the vendor's graph, which qairt has not"))
        return
    found.bits(path, module, bits)


def _bits_of(values: Any) -> int | None:
    """`{weight_precision: int8, …}` or `int8` -> 8; None where no width is named."""
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
        data = json.loads(file.read_bytes())
        entries = [(kind, entry) for kind in ("module_list", "name_list") for entry in data.get(kind) or ()]
        for _, entry in entries:
            _exception(found, str(entry["module_name"]), entry["exceptions"] or {}, path)
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise RecipeError(
            f"{file} is no file of exceptions: {type(error).__name__} {error}",
            where=recipe.where(path),
            remedy="it is JSON with module_list and name_list",
        ) from error


def _exception(found: Precisions, name: str, exceptions: Mapping[str, Any], path: KeyPath) -> None:
    """One entry of such a file; its path names the entry."""
    place = (*path, name)
    module = next((module for part, module in _GRAPH_NAMES if part in name), None)
    parameters = exceptions.get("param_exceptions") or {}
    tensors = [*(exceptions.get("input_exceptions") or ()), *(exceptions.get("output_exceptions") or ())]
    widths = [int(each["bitwidth"]) for each in (parameters, *tensors) if each.get("bitwidth") is not None]
    if module is not None and widths:
        found.bits(place, module, widths[0])
    elif not widths:
        found.notes.append((place, "inside a norm nothing is quantized but its input and output"))
    elif all(width >= 16 for width in widths):
        found.notes.append((place, "activations have 16 bits unless stages.quantize.act_bitwidth says otherwise"))
    else:
        found.faults.append((place, "the name is one of the vendor's graph, which qairt has not"))
