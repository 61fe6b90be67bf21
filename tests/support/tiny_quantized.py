"""Tiny models as other programs quantize them."""

from __future__ import annotations

import json
from math import ceil
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file


def to_fp8(tensor: torch.Tensor, block: tuple[int, int] | None) -> dict[str, torch.Tensor]:
    """`weight` and `weight_scale_inv`: one scale, or one for each block of rows and columns, the last ones smaller."""
    rows, columns = tensor.shape
    high, wide = block or (rows, columns)
    grid = torch.empty(ceil(rows / high), ceil(columns / wide))
    values = torch.empty_like(tensor)
    for row in range(grid.shape[0]):
        for column in range(grid.shape[1]):
            part = slice(row * high, (row + 1) * high), slice(column * wide, (column + 1) * wide)
            grid[row, column] = tensor[part].abs().max() / 448
            values[part] = tensor[part] / grid[row, column]
    return {"": values.to(torch.float8_e4m3fn), "_scale_inv": grid if block else grid[0, 0]}


def store_as_fp8(directory: Path, block: tuple[int, int] | None) -> None:
    """Every projection of a model directory, as DeepSeek and Qwen publish them."""
    file, path = directory / "model.safetensors", directory / "config.json"
    tensors: dict[str, torch.Tensor] = {}
    for name, tensor in load_file(file).items():
        parts = to_fp8(tensor, block) if "_proj" in name else {"": tensor}
        tensors |= {name + part: value for part, value in parts.items()}
    save_file(tensors, file, metadata={"format": "pt"})
    stated = {"quant_method": "fp8", "activation_scheme": "dynamic" if block else "static", "weight_block_size": block}
    path.write_text(json.dumps(json.loads(path.read_text()) | {"quantization_config": stated}))
