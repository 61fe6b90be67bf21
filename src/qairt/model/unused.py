"""What a model directory holds and the decoder does not use: told, or refused where it shows a wrong configuration."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from qairt.errors import ModelError
from qairt.model.config import DecoderConfig
from qairt.model.families import FAMILIES
from qairt.model.layout import EMBEDDING, LM_HEAD, layer_weight_shapes, weight_shapes
from qairt.model.notes import Notes
from qairt.model.safetensors_weights import SafetensorsWeights
from qairt.model.weight_files import unused_weight_files
from qairt.model.weights import listed

_RECOMPUTED = ".rotary_emb.inv_freq"
"""Stored by early versions of transformers."""


def tell_other_files(directory: Path, used: Sequence[Path], notes: Notes) -> None:
    """Tell which files with weights are not read."""
    others = unused_weight_files(directory, list(used))
    if others:
        notes.tell(f"the weights are read from {used[0].name}, as in transformers; not used: {listed(others)}")


def tell_unused_weights(config: DecoderConfig, weights: SafetensorsWeights, where: Path, notes: Notes) -> None:
    """Tell which stored tensors are not used, and whether a head replaces the tied embedding.

    Raises:
        ModelError: the family has such weights, so that the configuration does not belong to the files.
    """
    needed = weight_shapes(config)
    unused = [name for name in weights.names() if name not in needed and not name.endswith(_RECOMPUTED)]
    own = [name for name in unused if _family_has(config, name)]
    if own:
        raise ModelError(
            f"the configuration does not use stored weights of the model: {listed(own)}",
            where=str(where),
            remedy="use the config.json that was published with the weights (num_hidden_layers, attention_bias, "
            "mlp_bias), or remove these tensors",
        )
    if unused:
        notes.tell(f"stored tensors that a {config.family} model does not use: {listed(unused)}")
    _tell_head(config, weights, notes)


def _family_has(config: DecoderConfig, name: str) -> bool:
    """Whether a decoder of this family, with another configuration, would have a weight of this name."""
    parts = name.split(".", 3)
    if parts[:2] != ["model", "layers"] or len(parts) < 4 or not parts[2].isdecimal():
        return False
    largest = config.model_copy(update=dict(FAMILIES[config.family].optional))
    return name in layer_weight_shapes(largest, int(parts[2]))


def _tell_head(config: DecoderConfig, weights: SafetensorsWeights, notes: Notes) -> None:
    """A few rows show whether a stored head is the embedding again; it is used in any case."""
    if config.tie_word_embeddings or "stored lm_head.weight" not in notes.readings:
        return
    rows = slice(0, None, max(1, config.vocab_size // 64))
    if (weights.read(LM_HEAD, rows) != weights.read(EMBEDDING, rows)).any():
        notes.tell(
            "config.json ties lm_head to the embedding, but a different lm_head.weight is stored and used, as in"
            " transformers"
        )
