"""The decoder's linears, which adapters add to, and the modules that a checkpoint has in their place."""

from __future__ import annotations

from qairt.model.config import DecoderConfig
from qairt.model.families import FAMILIES
from qairt.model.layout import CONV_PROJECTIONS, ROUTING, layer_weight_shapes

_JOINED = {
    "qkv_proj": ("q_proj", "k_proj", "v_proj"),
    "gate_up_proj": ("gate_proj", "up_proj"),
    "in_proj": CONV_PROJECTIONS,
}


def linear_sizes(config: DecoderConfig) -> dict[str, tuple[int, int]]:
    """Name -> (in, out) of every linear of the decoder's layers, `model.layers.0.self_attn.q_proj` and on; those of a
    mixture of experts cannot be adapted."""
    return {
        name.removesuffix(".weight"): (shape[1], shape[0])
        for layer in range(config.num_layers)
        for name, shape in layer_weight_shapes(config, layer).items()
        if len(shape) == 2 and not name.removesuffix(".weight").endswith(ROUTING)
    }


def modules_of(config: DecoderConfig) -> dict[str, list[str]]:
    """Every module that a checkpoint of this family may have for linears of the decoder -> these linears: one, or those
    of a joined projection, in its order."""
    linears = linear_sizes(config)
    renamed = {ours: stored for stored, ours in FAMILIES[config.family].renamed.items()}
    found = {}
    for linear in linears:
        layer, module = linear[: linear.index(".", len("model.layers."))], linear.split(".", 3)[3]
        found[f"{layer}.{renamed.get(module, module)}"] = [linear]
    for block in dict.fromkeys(name.rpartition(".")[0] for name in linears):
        for joined, parts in _JOINED.items():
            names = [f"{block}.{part}" for part in parts]
            if all(name in linears for name in names):
                found[f"{block}.{joined}"] = names
    return found
