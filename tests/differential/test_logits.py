"""The split single-head graphs of a checkpoint compute what transformers computes from the same files.

By default some cases, in which every property occurs; all combinations with `-m matrix`.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, fields
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from gguf import GGMLQuantizationType
from tiny_graphs import bound, cut_parts, feeds, run, tiny_parts
from tiny_models import hf_decoded, quantize_like_gguf, save_tiny, tiny_model, write_tiny_gguf
from transformers import AutoModelForCausalLM, PreTrainedModel

from qairt.graph import files
from qairt.graph.build import build_decoder
from qairt.graph.mha2sha import to_single_heads
from qairt.graph.weights_file import write_weights
from qairt.model.config import DecoderConfig
from qairt.model.describe import describe_model
from qairt.model.parameters import open_parameters
from qairt.quant.encodings import Encodings

PROMPT, IDS = 8, list(range(3, 15))
TOLERANCE = 1e-4

FAMILIES = ("llama", "mistral", "phi3", "qwen2", "qwen3")
BIASED = {"llama": {"attention_bias": True, "mlp_bias": True}, "qwen3": {"attention_bias": True}}
THETA = {"rope_theta": 2e4}
ROPE: dict[str, dict[str, Any]] = {
    "default": {"rope_type": "default"},
    "linear": {"rope_type": "linear", "factor": 2.0},
    "dynamic": {"rope_type": "dynamic", "factor": 2.0},
    "llama3": {
        "rope_type": "llama3",
        "factor": 8.0,
        "low_freq_factor": 1.0,
        "high_freq_factor": 4.0,
        "original_max_position_embeddings": 32,
    },
    "yarn": {"rope_type": "yarn", "factor": 4.0, "original_max_position_embeddings": 16},
    "yarn-stated": {
        "rope_type": "yarn",
        "factor": 4.0,
        "original_max_position_embeddings": 16,
        "attention_factor": 1.3,
        "truncate": False,
    },
}
GGUF_KINDS = ("F32", "F16", "BF16", "Q8_0", "Q4_0", "Q4_1", "Q5_0", "Q5_1")


@dataclass(frozen=True)
class Checkpoint:
    """What distinguishes a stored model from another one."""

    family: str
    tied: bool
    biased: bool
    rope: str = "default"
    stored: str = "float32"
    """A type of torch, or of GGUF in capitals."""
    sharded: bool = False

    def __str__(self) -> str:
        flags = [name for name in ("tied", "biased", "sharded") if getattr(self, name)]
        return "-".join((self.family, *flags, self.rope, self.stored))


def checkpoints() -> Iterator[Checkpoint]:
    for family, tied in product(FAMILIES, (False, True)):
        for biased in (False, True) if family in BIASED else (False,):
            kinds = ("default",) if family == "phi3" else tuple(ROPE)
            for rope, dtype, sharded in product(kinds, ("float32", "bfloat16", "float16"), (False, True)):
                yield Checkpoint(family, tied, biased, rope, dtype, sharded)
            if not (biased and family == "qwen3"):  # llama.cpp's has none
                yield from (Checkpoint(family, tied, biased, stored=kind) for kind in GGUF_KINDS)


def covering(every: Sequence[Checkpoint]) -> set[Checkpoint]:
    """A few in which each value of each property occurs, and each family as a directory and as a GGUF file."""
    chosen: set[Checkpoint] = set()
    missing = {value for each in every for value in _values(each)}
    while missing:
        best = max(every, key=lambda each: len(missing & _values(each)))
        chosen.add(best)
        missing -= _values(best)
    return chosen


def _values(checkpoint: Checkpoint) -> set[tuple[object, ...]]:
    own = {(each.name, getattr(checkpoint, each.name)) for each in fields(checkpoint)}
    return own | {("form", checkpoint.family, checkpoint.stored in GGUF_KINDS)}


EVERY = list(checkpoints())
SOME = covering(EVERY)


@pytest.mark.parametrize(
    "checkpoint",
    [pytest.param(each, id=str(each), marks=() if each in SOME else pytest.mark.matrix) for each in EVERY],
)
def test_prefill_and_decode_through_split_single_head_graphs(checkpoint, tmp_path):
    path, model = write(checkpoint, tmp_path)
    description = describe_model(path)
    told = [notice for notice in description.notices if "already quantized" not in notice]
    assert told == []
    ours = decoded(path, description.config, tmp_path)
    theirs = hf_decoded(model, IDS, PROMPT)
    assert np.abs(theirs).max() > 0.5, "a model of zeros would agree too"
    assert np.abs(ours - theirs).max() < TOLERANCE


def write(checkpoint: Checkpoint, directory: Path) -> tuple[Path, PreTrainedModel]:
    """The stored model, and the same one in transformers."""
    changes: dict[str, Any] = {"tie_word_embeddings": checkpoint.tied}
    changes |= BIASED[checkpoint.family] if checkpoint.biased else {}
    changes |= {"rope_parameters": ROPE[checkpoint.rope] | THETA}
    if checkpoint.stored in GGUF_KINDS:
        kind = GGMLQuantizationType[checkpoint.stored]
        model = tiny_model(checkpoint.family, **changes)
        quantize_like_gguf(model, kind)
        write_tiny_gguf(directory / "m.gguf", model, kind)
        return directory / "m.gguf", model
    dtype = getattr(torch, checkpoint.stored)
    folder = directory / "hf"
    save_tiny(folder, checkpoint.family, dtype=dtype, max_shard_size="40KB" if checkpoint.sharded else "1GB", **changes)
    return folder, AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32).eval()


def decoded(path: Path, config: DecoderConfig, directory: Path) -> np.ndarray:
    """Logits after the prompt and after each further token, from the graphs that a run compiles."""
    weights, onnx = directory / "weights.bin", directory / "model.onnx"
    places = write_weights(open_parameters(path, config), weights)
    files.save(build_decoder(config, places, weights), onnx)
    prefill, decode = (single_heads(bound(onnx, ar), config) for ar in (PROMPT, 1))
    calls = [through(prefill, feeds(config, IDS[:PROMPT]))]
    for token in IDS[PROMPT:]:
        calls.append(through(decode, feeds(config, [token], calls)))
    return np.stack([call["logits"][0, -1] for call in calls])


def single_heads(onnx: Path, config: DecoderConfig) -> list[Path]:
    parts = cut_parts(onnx, tiny_parts(config, 3))
    for part in parts[1:]:  # the first is the embedding
        heads = to_single_heads(files.load(part), Encodings(), part.parent, f"{part.stem}.heads.bin")
        files.save(heads.model, part)
    return parts


def through(parts: Sequence[Path], inputs: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Each part gets what the recipe feeds and what earlier parts computed."""
    found: dict[str, np.ndarray] = {}
    for part in parts:
        found |= run(part, inputs | found)
    return found
