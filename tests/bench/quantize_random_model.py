"""A random checkpoint, of Llama-3.2-1B's shape if not told otherwise, written tensor by tensor."""

from __future__ import annotations

import argparse
import json
import shutil
from collections.abc import Iterator, Mapping
from math import prod
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from qairt.model.describe import describe_model
from qairt.model.hf_config import read_hf_config
from qairt.model.layout import layer_weight_shapes, weight_shapes
from qairt.model.notes import Notes
from qairt.model.tokenizer import Tokenizer

SEED, DEVIATION = 1, 0.02
LAYERS_A_SHARD = 4
ROWS = 4096
"""Of a matrix, made at once."""
CONFIG: dict[str, Any] = {
    "architectures": ["LlamaForCausalLM"],
    "model_type": "llama",
    "vocab_size": 128256,
    "hidden_size": 2048,
    "intermediate_size": 8192,
    "num_hidden_layers": 16,
    "num_attention_heads": 32,
    "num_key_value_heads": 8,
    "head_dim": 64,
    "hidden_act": "silu",
    "rms_norm_eps": 1e-05,
    "rope_theta": 500000.0,
    "rope_scaling": {
        "rope_type": "llama3",
        "factor": 32.0,
        "low_freq_factor": 1.0,
        "high_freq_factor": 4.0,
        "original_max_position_embeddings": 8192,
    },
    "max_position_embeddings": 131072,
    "tie_word_embeddings": True,
    "torch_dtype": "bfloat16",
}
"""Source: the shape of meta-llama/Llama-3.2-1B."""


def arguments_or_clean(parser: argparse.ArgumentParser, folder: Path) -> argparse.Namespace | None:
    """Parse a benchmark's arguments, with `--tokenizer` and `--clean` added to them.

    Args:
        folder: what `--clean` deletes; then there is nothing else to do, and None is returned.
    """
    parser.add_argument(
        "--tokenizer",
        type=Path,
        default=Path(__file__).parents[2] / ".demo" / "SmolLM2-135M-Instruct.Q4_1.gguf",
        help="a model with one; its vocabulary must not be larger than that of the random models",
    )
    parser.add_argument("--clean", action="store_true", help="delete what this benchmark wrote, and nothing else")
    given = parser.parse_args()
    if given.clean:
        shutil.rmtree(folder, ignore_errors=True)
        print(f"Deleted {folder}.")
        return None
    if not given.tokenizer.exists():
        parser.error(f"--tokenizer: {given.tokenizer} does not exist; `make demo` fetches it")
    return given


def layer_bytes() -> int:
    """A decoder layer's weights in float32."""
    hidden, mlp = int(CONFIG["hidden_size"]), int(CONFIG["intermediate_size"])
    keys = int(CONFIG["num_key_value_heads"] * CONFIG["head_dim"])
    return 4 * (2 * hidden * hidden + 2 * hidden * keys + 3 * hidden * mlp + 2 * hidden)


def write_random_model(directory: Path, layers: int, tokenizer: Path, changes: Mapping[str, Any] | None = None) -> None:
    """Write it with the tokenizer of another model; nothing when it is there already.

    Args:
        tokenizer: a model whose vocabulary is not larger.
        changes: keys of its configuration that differ from `CONFIG`.
    """
    index = directory / "model.safetensors.index.json"
    if index.is_file():
        return
    print(f"Writing a random model of {layers} layers to {directory}", flush=True)
    directory.mkdir(parents=True, exist_ok=True)
    (directory / "config.json").write_text(
        json.dumps(CONFIG | {**(changes or {}), "num_hidden_layers": layers}, indent=1) + "\n"
    )
    Tokenizer.open(tokenizer).save(directory)
    config = read_hf_config(directory, [], Notes())
    shapes = weight_shapes(config)
    groups = [
        [name for layer in range(layers)[start : start + LAYERS_A_SHARD] for name in layer_weight_shapes(config, layer)]
        for start in range(0, layers, LAYERS_A_SHARD)
    ]
    held = {name for group in groups for name in group}
    groups.append([name for name in shapes if name not in held])
    order = list(shapes)
    weight_map: dict[str, str] = {}
    for number, names in enumerate(groups, 1):
        shard = f"model-{number:05}-of-{len(groups):05}.safetensors"
        write_shard(directory / shard, [(name, shapes[name], order.index(name)) for name in names])
        weight_map |= dict.fromkeys(names, shard)
    # Last: it says that the shards are whole.
    index.write_text(json.dumps({"metadata": {}, "weight_map": weight_map}, indent=1) + "\n")
    describe_model(directory)


def write_shard(path: Path, tensors: list[tuple[str, tuple[int, ...], int]]) -> None:
    """A safetensors file of bfloat16 tensors, each with its name, shape and number for the seed."""
    header, offset = {}, 0
    for name, shape, _ in tensors:
        size = 2 * prod(shape)
        header[name] = {"dtype": "BF16", "shape": list(shape), "data_offsets": [offset, offset + size]}
        offset += size
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    with path.open("wb") as file:
        file.write(len(text).to_bytes(8, "little") + text)
        for _, shape, number in tensors:
            for rows in random_rows(shape, number):
                file.write((rows.view(np.uint32) >> 16).astype("<u2").tobytes())


def random_rows(shape: tuple[int, ...], number: int) -> Iterator[NDArray[np.float32]]:
    """A tensor's values, some rows at a time: norms are 1, matrices normal about 0."""
    if len(shape) == 1:
        yield np.ones(shape, np.float32)
        return
    chance = np.random.default_rng([SEED, number])
    for start in range(0, shape[0], ROWS):
        rows = chance.standard_normal((min(ROWS, shape[0] - start), shape[1]), np.float32)
        rows *= np.float32(DEVIATION)
        yield rows
