"""What quantizing each decoder layer costs at the logits, simulated."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from qairt.model.parameters import Parameters
from qairt.model.reference import Reference
from qairt.notify import Notify
from qairt.quant.encodings import Encodings
from qairt.quant.simulate import Simulated
from qairt.runtime.metrics import sqnr_db
from qairt.runtime.stored import Floats
from qairt.verify.measure import kl_and_agreement
from qairt.verify.result import LayerCost

TOKENS = 64
"""Of text, unless fewer are requested. The work grows with the square of the number of layers."""

_NOTIFY_EVERY = 10


def layer_costs(
    original: Parameters,
    exported: Parameters,
    encodings: Encodings,
    ids: NDArray[np.integer],
    notify: Notify,
) -> list[LayerCost]:
    """Quantize one piece at a time (embedding, each layer, lm_head), weights and activations; all else stays float.

    The model runs once, layer by layer, with one more stream of hidden states per quantized piece; so each layer's
    weights are read once and one layer is in memory.

    Args:
        original: the float model.
        exported: the float model that was exported; quantization may have changed its weights.
        ids: token ids from position 0.

    Returns:
        One entry per piece, in the decoder's order. KL and agreement are over all tokens, SQNR over all but the first.
    """
    exact, rounded = Reference(original), Simulated(exported, encodings)
    config = original.config
    positions, rounded_positions = exact.positions(len(ids)), rounded.positions(len(ids))
    names = ["embedding", *(f"layer {layer}" for layer in range(config.num_layers)), "lm_head"]
    truth = exact.embed(ids)
    streams = [rounded.embed(ids)]
    own = [_sqnr(truth, streams[0])]
    for layer in range(config.num_layers):
        if layer % _NOTIFY_EVERY == 0:
            notify(f"quantize: cost of layer {layer + 1} of {config.num_layers}")
        past = exact.empty_past(layer)
        quantized = rounded.run_block(layer, truth, rounded_positions, past)[0]
        truth, *streams = (exact.run_block(layer, hidden, positions, past)[0] for hidden in (truth, *streams))
        streams.append(quantized)
        own.append(_sqnr(truth, quantized))
    expected = exact.head(truth)
    last = rounded.head(truth)
    rounded.release()
    own.append(_sqnr(expected, last))
    costs = []
    for index, name in enumerate(names):
        logits = exact.head(streams[index]) if index < len(streams) else last
        kl, same = kl_and_agreement(_values(expected), _values(logits))
        costs.append(LayerCost(name=name, sqnr_db=own[index], kl=kl / len(ids), top1=same / len(ids)))
    return costs


def _values(tensor: Tensor) -> Floats:
    values: Floats = tensor[0].numpy()
    return values


def _sqnr(reference: Tensor, measured: Tensor) -> float:
    """Over all tokens but the first, if there are others."""
    start = 1 if reference.shape[1] > 1 else 0
    return sqnr_db(_values(reference)[start:], _values(measured)[start:])
