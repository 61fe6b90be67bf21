"""A decoder layer on a whole chunk; gradients flow."""

from __future__ import annotations

from torch import Tensor

from qairt.model import decoder
from qairt.model.reference import empty_past, sequence_positions
from qairt.model.torch_ops import TorchOps


def block_forward(ops: TorchOps, layer: int, hidden: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Decoder layer `layer` on hidden [1, tokens, hidden], without a past.

    Returns:
        hidden [1, tokens, hidden], key [KV, 1, D, tokens], value [KV, 1, tokens, D].
    """
    config = ops.parameters.config
    positions = sequence_positions(config, hidden.shape[1], device=hidden.device)
    key, value = (empty.to(hidden.device) for empty in empty_past(config))
    return decoder.block(ops, config, layer, hidden, positions, (key, value))
