"""The rotation of a technique, and whether `auto` rotates a model.

R1 spreads the few huge values of a residual stream over all channels. Without it they determine the step of 16 bits: on
SmolLM2 the first token reaches 26,074 in one channel, so the step is 0.4. `auto` does not rotate

1. models that R1 does not fit (`qairt.model.rotation`);
2. weights that lie on a 4-bit grid already, which LPBQ keeps (`qairt.quant.techniques.stored_grid`).
"""

from __future__ import annotations

from qairt.model.parameters import Parameters
from qairt.model.rotation import Rotation, why_not_rotatable
from qairt.model.torch_ops import shared
from qairt.quant.config import TechniqueConfig
from qairt.quant.precisions import linear_shapes
from qairt.quant.techniques.stored_grid import stored_scales


def chosen_rotation(technique: TechniqueConfig, parameters: Parameters) -> tuple[Rotation | None, str | None]:
    """The rotation, if there is one, and what a user should know about it.

    Args:
        parameters: of the model, not rotated.
    """
    chosen, note = technique.rotation, None
    if chosen == "auto":
        why = why_not_rotatable(parameters.config) or _stored_grid(technique, parameters)
        chosen = ["R1"] if why is None else []
        note = None if why is None else f"the residual stream is not rotated: {why}"
    if not chosen:
        return None, note
    stream, values = "R1" in chosen, "R2" in chosen
    return Rotation.of(parameters.config, stream=stream, values=values, seed=technique.seed), note


def _stored_grid(technique: TechniqueConfig, parameters: Parameters) -> str | None:
    if technique.technique != "lpbq":
        return None
    first = parameters.read(next(iter(linear_shapes(parameters.config))))
    kept = stored_scales(shared(first), technique.block_size) is not None
    return "the weights lie on a 4-bit grid, which is kept" if kept else None
