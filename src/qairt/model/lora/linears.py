"""The decoder's linears, which adapters add to, and the joined ones that a checkpoint may have in their place."""

from __future__ import annotations

from qairt.model.config import DecoderConfig
from qairt.model.layout import ROUTING, layer_weight_shapes

_JOINED = {"qkv_proj": ("q_proj", "k_proj", "v_proj"), "gate_up_proj": ("gate_proj", "up_proj")}


def linear_sizes(config: DecoderConfig) -> dict[str, tuple[int, int]]:
    """Name -> (in, out) of every linear of the decoder's layers, `model.layers.0.self_attn.q_proj` and on; those of a
    mixture of experts cannot be adapted."""
    return {
        name.removesuffix(".weight"): (shape[1], shape[0])
        for layer in range(config.num_layers)
        for name, shape in layer_weight_shapes(config, layer).items()
        if len(shape) == 2 and not name.removesuffix(".weight").endswith(ROUTING)
    }


def linears_of_module(module: str, linears: dict[str, tuple[int, int]]) -> list[str]:
    """The decoder's linears that a checkpoint's module is: itself, or those of a joined projection, in its order.

    Returns:
        Their names; none if the decoder has no such module.
    """
    if module in linears:
        return [module]
    block, _, projection = module.rpartition(".")
    parts = [f"{block}.{part}" for part in _JOINED.get(projection, ())]
    return parts if all(part in linears for part in parts) else []


def joined_modules(linears: dict[str, tuple[int, int]]) -> list[str]:
    """Names that joined projections of this decoder would have."""
    blocks = dict.fromkeys(name.rpartition(".")[0] for name in linears)
    names = [f"{block}.{projection}" for block in blocks for projection in _JOINED]
    return [name for name in names if linears_of_module(name, linears)]
