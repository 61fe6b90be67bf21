"""A decoder layer on a whole chunk; gradients flow."""

from __future__ import annotations

from torch import Tensor

from qairt.model import decoder
from qairt.model.reference import empty_past, sequence_positions
from qairt.model.torch_ops import TorchOps


def block_forward(ops: TorchOps, layer: int, hidden: Tensor) -> tuple[Tensor, tuple[Tensor, ...]]:
    """Decoder layer `layer` on hidden [1, tokens, hidden], without a past; returns as `decoder.block`."""
    config = ops.parameters.config
    positions = sequence_positions(config, hidden.shape[1], device=hidden.device)
    past = [empty.to(hidden.device) for empty in empty_past(config, layer)]
    return decoder.block(ops, config, layer, hidden, positions, past)
