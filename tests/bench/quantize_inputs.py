"""What every technique is given: the same float weights, calibration tokens and tokens to predict."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from qairt.model.config import DecoderConfig
from qairt.model.describe import ModelDescription, describe_model
from qairt.model.families import FAMILIES
from qairt.model.open_weights import open_weights
from qairt.model.tokenizer import Tokenizer
from qairt.quant.measure.chunks import chunks_of, other_chunks

LENGTH = 512
"""Tokens of a chunk."""

Chunks = NDArray[np.int64]
"""[chunks, LENGTH]."""


@dataclass(frozen=True)
class Inputs:
    """Files for the measured processes, and the digests that name their content."""

    model: Path
    checkpoint: Path
    """The same weights in float32 as Hugging Face's transformers reads them."""
    evaluation: Path
    """Chunks to predict, .npy."""
    chunks: int
    model_digest: str
    evaluation_digest: str
    folder: Path
    calibration_ids: NDArray[np.int64]

    def calibration(self, chunks: int) -> tuple[Path, str]:
        """A file of so many chunks spread over the calibration text, and its digest."""
        return _kept(self.folder, "calibration", chunked(self.calibration_ids, chunks, "the calibration text"))

    def other_text(self, chunks: int) -> tuple[Path, str]:
        """A file of all chunks of the calibration text that are not among so many, and its digest."""
        others = other_chunks(self.calibration_ids, chunks, LENGTH, len(self.calibration_ids) // LENGTH)
        return _kept(self.folder, "other", np.stack(others))


def make_inputs(folder: Path, model: Path, calibration_text: Path, evaluation_text: Path, chunks: int | None) -> Inputs:
    """
    Args:
        folder: where they are kept; what is there already is not made again.
        chunks: to predict, evenly spread over the text; all of it when None.
    """
    description = describe_model(model)
    digest = _digest(*description.files)
    folder = folder / f"model-{digest}"
    folder.mkdir(parents=True, exist_ok=True)
    checkpoint = folder / "float"
    if not (checkpoint / "config.json").is_file():
        write_checkpoint(description, checkpoint)
    tokenizer = Tokenizer.open(model)
    ids = np.asarray(tokenizer.encode(evaluation_text.read_text(encoding="utf-8")), np.int64)
    predicted = chunked(ids, chunks or len(ids) // LENGTH, str(evaluation_text))
    evaluation, evaluation_digest = _kept(folder, "evaluation", predicted)
    calibration_ids = np.asarray(tokenizer.encode(calibration_text.read_text(encoding="utf-8")), np.int64)
    return Inputs(model, checkpoint, evaluation, len(predicted), digest, evaluation_digest, folder, calibration_ids)


def chunked(ids: NDArray[np.int64], chunks: int, where: str) -> Chunks:
    return np.stack(chunks_of(ids, count=chunks, length=LENGTH, where=where))


def write_checkpoint(description: ModelDescription, directory: Path) -> None:
    """The model as transformers reads it, all weights in float32."""
    from safetensors.numpy import save_file

    source = open_weights(description.source)
    directory.mkdir(parents=True, exist_ok=True)
    weights = {name: np.ascontiguousarray(source.read(name)) for name in description.tensors}
    save_file(weights, directory / "model.safetensors", metadata={"format": "pt"})
    # Written last: it says that the rest is there.
    (directory / "config.json").write_text(json.dumps(hugging_face_config(description.config), indent=1) + "\n")


def hugging_face_config(config: DecoderConfig) -> dict[str, Any]:
    """config.json for transformers; of a model with plain rotary embeddings.

    Raises:
        SystemExit: its rotary embeddings are scaled.
    """
    if config.rope_scaling is not None:
        raise SystemExit("This benchmark takes models with plain rotary embeddings; this one scales them.")
    return {
        "architectures": [FAMILIES[config.family].architecture],
        "model_type": config.family,
        "vocab_size": config.vocab_size,
        "hidden_size": config.hidden_size,
        "intermediate_size": config.intermediate_size,
        "num_hidden_layers": config.num_layers,
        "num_attention_heads": config.num_heads,
        "num_key_value_heads": config.num_kv_heads,
        "head_dim": config.head_dim,
        "hidden_act": "silu",
        "rms_norm_eps": config.rms_norm_eps,
        "rope_theta": config.rope_theta,
        "max_position_embeddings": config.max_position_embeddings,
        "tie_word_embeddings": config.tie_word_embeddings,
        "attention_bias": config.qkv_bias,
        "mlp_bias": config.mlp_bias,
        "bos_token_id": config.bos_token_id,
        "eos_token_id": list(config.eos_token_ids) or None,
        "torch_dtype": "float32",
    }


def digest_of(values: Mapping[str, Any]) -> str:
    """A short name for plain data."""
    return hashlib.sha256(json.dumps(values, sort_keys=True).encode()).hexdigest()[:12]


def _kept(folder: Path, name: str, chunks: Chunks) -> tuple[Path, str]:
    digest = hashlib.sha256(chunks.tobytes()).hexdigest()[:12]
    path = folder / f"{name}-{len(chunks)}-{digest}.npy"
    if not path.is_file():
        np.save(path, chunks)
    return path, digest


def _digest(*files: Path) -> str:
    joined = hashlib.sha256()
    for file in files:
        with file.open("rb") as opened:
            joined.update(hashlib.file_digest(opened, "sha256").digest())
    return joined.hexdigest()[:12]
