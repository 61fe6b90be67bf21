"""GPTQ beyond the files of `test_find.py`: what the configuration alone tells."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from qairt.errors import ModelError
from qairt.model.safetensors_weights import SafetensorsWeights

OUT, IN = 32, 64
CODES = np.random.default_rng(0).integers(0, 16, (IN, OUT))
SCALES = np.random.default_rng(1).uniform(0.01, 0.02, (2, OUT)).astype(np.float16)
ZEROS = np.random.default_rng(2).integers(1, 16, (2, OUT))


def nibbles(codes: np.ndarray) -> np.ndarray:
    """[.., n] -> int32 [.., n / 8], the first in the lowest bits."""
    eights = codes.astype(np.uint32).reshape(*codes.shape[:-1], -1, 8)
    return np.bitwise_or.reduce(eights << (4 * np.arange(8, dtype=np.uint32)), axis=-1).view(np.int32)


def write(directory: Path, zeros: np.ndarray | None = None, config: object = None, old: object = None) -> None:
    tensors = {
        "m.qweight": torch.from_numpy(np.ascontiguousarray(nibbles(CODES.T).T)),
        "m.scales": torch.from_numpy(SCALES),
    }
    if zeros is not None:
        tensors["m.qzeros"] = torch.from_numpy(nibbles(zeros))
    save_file(tensors, directory / "model.safetensors")
    if config is not None:
        (directory / "config.json").write_text(json.dumps({"quantization_config": config}))
    if old is not None:
        (directory / "quantize_config.json").write_text(json.dumps(old))


def read(directory: Path) -> np.ndarray:
    return SafetensorsWeights(directory).read("m.weight")


def stands_for(zeros: np.ndarray | int) -> np.ndarray:
    """[out, in], rounded to half as the scales are."""
    each = np.broadcast_to(zeros, (2, OUT)).repeat(32, 0)
    return ((CODES - each) * SCALES.astype(np.float32).repeat(32, 0)).astype(np.float16).astype(np.float32).T


@pytest.mark.parametrize(("checkpoint_format", "offset"), [(None, 1), ("gptq", 1), ("gptq_v2", 0)])
def test_zero_points_are_stored_less_one_in_the_first_format(checkpoint_format, offset, tmp_path):
    config = {"quant_method": "gptq", "bits": 4, "group_size": 32, "checkpoint_format": checkpoint_format}
    write(tmp_path, ZEROS - offset, config)
    np.testing.assert_array_equal(read(tmp_path), stands_for(ZEROS))


def test_a_zero_point_of_nought_wraps_in_the_first_format(tmp_path):
    zeros = np.zeros_like(ZEROS)
    write(tmp_path, (zeros - 1) & 15, {"quant_method": "gptq", "bits": 4})
    np.testing.assert_array_equal(read(tmp_path), stands_for(0))


@pytest.mark.parametrize("old", [{"bits": 4, "group_size": 32, "sym": True}, {"bits": 4}])
def test_the_file_of_old_versions_without_zero_points_is_symmetric(old, tmp_path):
    write(tmp_path, old=old)
    np.testing.assert_array_equal(read(tmp_path), stands_for(8))
    assert str(SafetensorsWeights(tmp_path).storage()) == "GPTQ, 4 bits, groups of 32"


@pytest.mark.parametrize(
    ("config", "message"),
    [
        (
            {"quant_method": "gptq", "bits": 4, "checkpoint_format": "marlin"},
            "GPTQ weights in marlin format are not supported\n  use a checkpoint in one of the formats gptq, gptq_v2",
        ),
        (
            {"quant_method": "gptq", "bits": 4, "is_marlin_format": True},
            "GPTQ weights in marlin format are not supported\n  use a checkpoint in one of the formats gptq, gptq_v2",
        ),
        (
            {"quant_method": "gptq", "bits": 5},
            "m.weight (GPTQ): 5 bits are not supported\n"
            "  use a checkpoint of 2, 3, 4, 8 bits, with its quantization_config",
        ),
        (
            {"quant_method": "gptq"},
            "m.weight (GPTQ): no file states its bits\n"
            "  use a checkpoint of 2, 3, 4, 8 bits, with its quantization_config",
        ),
        (
            {"quant_method": "gptq", "bits": "four"},
            'bits is "four", not an integer\n  use the file that was published with the weights',
        ),
    ],
)
def test_configurations_that_are_refused(config, message, tmp_path):
    write(tmp_path, config=config)
    with pytest.raises(ModelError) as raised:
        SafetensorsWeights(tmp_path)
    assert str(raised.value) == f"{tmp_path / 'config.json'}: {message}"
