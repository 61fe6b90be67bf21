"""The bits of each linear of the decoder layers. Imports no torch.

1. An exact name takes precedence over regular expressions; among those the first that matches the whole name counts.
2. A pattern that matches no linear is an error, before work starts.
3. A router and the biases of experts have 8 bits unless a pattern says otherwise: they are small, and a router that is
   off by little gives a token to other experts.
"""

from __future__ import annotations

import difflib
import re

from qairt.errors import QuantizationError
from qairt.model.config import DecoderConfig
from qairt.model.layout import ROUTING, graph_shape, layer_weight_shapes
from qairt.quant.config import CUSTOM, ModulePrecisions

_WEIGHT = ".weight"
_OTHERS = {"lm_head": "lm_head", "model.embed_tokens": "embedding", "model.norm": "rms_norm"}


def linear_shapes(config: DecoderConfig) -> dict[str, tuple[int, int]]:
    """Weight name -> (inputs, outputs) of every linear in the decoder layers, in their order."""
    shapes = {}
    for layer in range(config.num_layers):
        for name, shape in layer_weight_shapes(config, layer).items():
            if len(shape) > 1:
                inputs, outputs = graph_shape(config, name, shape)
                shapes[name] = (inputs, outputs)
    return shapes


def linear_bits(precisions: ModulePrecisions, default: int, config: DecoderConfig) -> dict[str, int]:
    """Weight name -> bits of every linear in the decoder layers.

    Args:
        default: the technique's bits.

    Raises:
        QuantizationError: a pattern of `custom` matches no linear; suggests the nearest names.
    """
    modules = [weight.removesuffix(_WEIGHT) for weight in linear_shapes(config)]
    bits: dict[str, int] = {}
    for pattern, given in precisions.custom.items():
        matched = [module for module in modules if module == pattern or re.fullmatch(pattern, module)]
        if not matched:
            raise _no_match(pattern, modules)
        for module in matched:
            bits.setdefault(module, given)
    bits |= {name: given for name, given in precisions.custom.items() if name in modules}
    return {module + _WEIGHT: bits.get(module, 8 if module.endswith(ROUTING) else default) for module in modules}


def _no_match(pattern: str, modules: list[str]) -> QuantizationError:
    other = next((name for name in _OTHERS if re.fullmatch(pattern.removesuffix(_WEIGHT), name)), None)
    inside = f".*{pattern}.*"
    if other is not None:
        remedy = f"set module_precisions.{_OTHERS[other]}"
    elif any(re.fullmatch(pattern, module + _WEIGHT) for module in modules):
        remedy = "remove .weight: patterns match module names"
    elif any(re.fullmatch(inside, module) for module in modules):
        remedy = f"an expression must match the whole name: {inside.removesuffix('.*')}"
        if not any(re.fullmatch(inside.removesuffix(".*"), module) for module in modules):
            remedy = f"an expression must match the whole name: {inside}"
    else:
        close = difflib.get_close_matches(pattern, modules, n=3, cutoff=0.0)
        remedy = f"the nearest names: {', '.join(close)}"
    return QuantizationError("it matches no linear of the model", where=f"{CUSTOM}.{pattern}", remedy=remedy)
