"""A decoder layer on a whole chunk, gradients and all."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from qairt.model import decoder
from qairt.model.reference import TorchOps, causal_mask, empty_past
from qairt.model.rope import rotary


def whole_block(ops: TorchOps, layer: int, hidden: Tensor) -> Tensor:
    """What leaves decoder layer `layer`, [1, tokens, hidden] as what enters; there is no past."""
    config, tokens = ops.parameters.config, hidden.shape[1]
    cos, sin = (torch.from_numpy(part)[None, None].to(hidden.device) for part in rotary(config, np.arange(tokens)))
    key, value = (empty.to(hidden.device) for empty in empty_past(config))
    return decoder.block(ops, config, layer, hidden, causal_mask(tokens).to(hidden.device), cos, sin, key, value)[0]
