"""The float model's tensors for a text, computed from its weights: for graphs that no quantization recorded."""

from __future__ import annotations

from importlib.resources import files as package_files
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from qairt.files import read_regular
from qairt.model.decoder import hidden_name, present_names
from qairt.model.parameters import Parameters
from qairt.model.reference import Reference
from qairt.model.tokenizer import Tokenizer
from qairt.quant.measure.reference_vectors import LOGIT_VALUES, TOKENS, ReferenceVectors


def record_text(parameters: Parameters, tokenizer: Path) -> ReferenceVectors:
    """Run the first tokens of the text that comes with qairt through the float model, one layer in memory at a time.

    Args:
        tokenizer: the model's tokenizer, a folder.
    """
    text = read_regular(Path(str(package_files("qairt") / "data" / "calib.txt"))).decode()
    ids = Tokenizer.from_directory(tokenizer).encode(text[: 16 * TOKENS])[:TOKENS]
    reference = Reference(parameters)
    positions, past = reference.positions(len(ids)), reference.empty_past()
    hidden = reference.embed(ids)
    tensors: dict[str, NDArray[np.generic]] = {"input_ids": np.asarray(ids, np.int32), hidden_name(0): _array(hidden)}
    for layer in range(parameters.config.num_layers):
        hidden, key, value = reference.run_block(layer, hidden, positions, past)
        tensors |= dict(zip(present_names(layer), (_array(key), _array(value)), strict=True))
        tensors[hidden_name(layer + 1)] = _array(hidden)
    kept = min(max(LOGIT_VALUES // parameters.config.vocab_size, 1), len(ids))
    tensors["logits"] = _array(reference.head(hidden[:, -kept:]))
    reference.release()
    return ReferenceVectors(tensors)


def _array(tensor: torch.Tensor) -> NDArray[np.generic]:
    return tensor.contiguous().numpy()
