"""The float model's tensors for a text, computed from its weights: for graphs that no quantization recorded."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from importlib.resources import files as package_files
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from qairt.files import read_regular
from qairt.model.kept import kept_names
from qairt.model.names import hidden_name
from qairt.model.parameters import Parameters
from qairt.model.reference import Reference
from qairt.model.tokenizer import Tokenizer
from qairt.quant.measure.reference_vectors import LOGIT_VALUES, TOKENS, ReferenceVectors

SHIPPED = Path(str(package_files("qairt") / "data" / "calib.txt"))
"""The text that comes with qairt."""


def first_tokens(tokenizer: Path, text_file: Path = SHIPPED) -> list[int]:
    """The ids of a text's first tokens.

    Args:
        tokenizer: the model's tokenizer, a folder.
    """
    text = read_regular(text_file).decode()
    return Tokenizer.from_directory(tokenizer).encode(text[: 16 * TOKENS])[:TOKENS]


def record_text(
    parameters: Parameters, ids: Sequence[int], branches: Mapping[str, NDArray[np.float32]] | None = None
) -> ReferenceVectors:
    """Run a text through the float model, one layer in memory at a time.

    Args:
        ids: its tokens, from `first_tokens`.
        branches: the inputs of the LoRA branches, by name; those of the base when None.
    """
    reference = Reference(parameters, branches=branches)
    positions = reference.positions(len(ids))
    hidden = reference.embed(ids)
    tensors: dict[str, NDArray[np.generic]] = {"input_ids": np.asarray(ids, np.int32), hidden_name(0): _array(hidden)}
    for layer in range(parameters.config.num_layers):
        hidden, present = reference.run_block(layer, hidden, positions, reference.empty_past(layer))
        names = (name for _, name in kept_names(parameters.config, layer))
        tensors |= dict(zip(names, map(_array, present), strict=True))
        tensors[hidden_name(layer + 1)] = _array(hidden)
    kept = min(max(LOGIT_VALUES // parameters.config.vocab_size, 1), len(ids))
    tensors["logits"] = _array(reference.head(hidden[:, -kept:]))
    reference.release()
    return ReferenceVectors(tensors)


def _array(tensor: torch.Tensor) -> NDArray[np.generic]:
    return tensor.contiguous().numpy()
