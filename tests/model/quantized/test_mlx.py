"""MLX: against transformers' code for the same packing, and a stream of bits written here for widths it lacks."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from transformers.integrations.metal_quantization import _affine_dequantize_tensor, _affine_quantize_tensor
from transformers.integrations.mxfp4 import convert_moe_packed_tensors

from qairt.errors import ModelError
from qairt.model.safetensors_weights import SafetensorsWeights

OUT, IN = 32, 128
WEIGHT = torch.randn(OUT, IN, generator=torch.Generator().manual_seed(0)) * 0.1
FITS = "\n  download the whole model again, with the config.json that was published with it"


def write(directory: Path, tensors: dict[str, torch.Tensor], **stated: object) -> SafetensorsWeights:
    save_file({name: tensor.contiguous() for name, tensor in tensors.items()}, directory / "model.safetensors")
    (directory / "config.json").write_text(json.dumps({"quantization": stated, "quantization_config": stated}))
    return SafetensorsWeights(directory)


def stream(codes: np.ndarray, bits: int) -> torch.Tensor:
    """Every code's bits after another's, lowest first."""
    ones = codes[..., None] >> np.arange(bits) & 1
    packed = np.packbits(ones.reshape(len(codes), -1).astype(np.uint8), axis=1, bitorder="little")
    return torch.from_numpy(packed.view(np.uint32).copy())


@pytest.mark.parametrize("bits", [2, 4, 8])
@pytest.mark.parametrize("group", [32, 64])
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32])
def test_as_transformers_unpacks_it(bits, group, dtype, tmp_path):
    packed, scales, biases = _affine_quantize_tensor(WEIGHT, group, bits)
    scales, biases = scales.to(dtype), biases.to(dtype)
    tensors = {"m.weight": packed, "m.scales": scales, "m.biases": biases}
    weights = write(tmp_path, tensors, group_size=group, bits=bits)
    # It shifts int32: the words of 4 and 8 bits need the sign bit masked away, as it does.
    expected = _affine_dequantize_tensor(packed.view(torch.int32), scales, biases, group, bits).to(dtype).float()
    np.testing.assert_array_equal(weights.read("m.weight"), expected.numpy())
    assert str(weights.storage()) == f"MLX, {bits} bits, groups of {group}"


@pytest.mark.parametrize("bits", [3, 5, 6])
def test_widths_that_cross_words(bits, tmp_path):
    codes = np.random.default_rng(bits).integers(0, 1 << bits, (OUT, IN))
    scales, biases = np.float32(0.25), np.float32(-1.5)
    grids = {"m.scales": torch.full((OUT, 2), 0.25), "m.biases": torch.full((OUT, 2), -1.5)}
    weights = write(tmp_path, {"m.weight": stream(codes, bits), **grids}, group_size=64, bits=bits)
    np.testing.assert_array_equal(weights.read("m.weight"), codes * scales + biases)


def test_a_layer_with_settings_of_its_own(tmp_path):
    packed, scales, biases = _affine_quantize_tensor(WEIGHT, 32, 8)
    tensors = {"m.weight": packed, "m.scales": scales, "m.biases": biases}
    weights = write(tmp_path, tensors, group_size=64, bits=4, m={"group_size": 32, "bits": 8})
    assert str(weights.storage()) == "MLX, 8 bits, groups of 32"
    expected = _affine_dequantize_tensor(packed.view(torch.int32), scales, biases, 32, 8)
    np.testing.assert_array_equal(weights.read("m.weight"), expected.numpy())


def test_mx_floats_of_4_bits_as_transformers_unpacks_them(tmp_path):
    rng = np.random.default_rng(0)
    blocks = rng.integers(0, 256, (1, OUT, IN // 32, 16), dtype=np.uint8)
    powers = rng.integers(118, 130, (1, OUT, IN // 32), dtype=np.uint8)
    packed = torch.from_numpy(blocks.reshape(OUT, -1).view(np.uint32).copy())
    tensors = {"m.weight": packed, "m.scales": torch.from_numpy(powers[0])}
    weights = write(tmp_path, tensors, group_size=32, bits=4, mode="mxfp4")
    expected = convert_moe_packed_tensors(torch.from_numpy(blocks), torch.from_numpy(powers), dtype=torch.float32)
    np.testing.assert_array_equal(weights.read("m.weight"), expected[0].T.numpy())
    assert str(weights.storage()) == "MLX, 4 bits, mxfp4, groups of 32"


def test_mx_floats_of_8_bits(tmp_path):
    values = WEIGHT.to(torch.float8_e4m3fn)
    powers = torch.arange(120, 124, dtype=torch.uint8).expand(OUT, -1)
    tensors = {"m.weight": values.view(torch.uint8).view(torch.uint32), "m.scales": powers}
    weights = write(tmp_path, tensors, group_size=32, bits=8, mode="mxfp8")
    expected = values.float() * (powers.float() - 127).exp2().repeat_interleave(32, 1)
    np.testing.assert_array_equal(weights.read("m.weight"), expected.numpy())


@pytest.mark.parametrize(
    ("stated", "message"),
    [
        (
            {"group_size": 16, "mode": "nvfp4"},
            "{config}: m.weight: MLX weights in mode nvfp4 are not supported\n"
            "  convert the float model with one of the modes affine, mxfp4, mxfp8",
        ),
        (
            {"bits": 4},
            "{config}: m.weight (MLX): no group_size is stated\n"
            "  use the config.json that was published with the weights",
        ),
        ({"group_size": 48}, "{model}: m.weight (MLX): its scales or biases do not fit groups of 48" + FITS),
        ({"group_size": 8}, "{model}: m.weight (MLX): its scales or biases do not fit groups of 8" + FITS),
    ],
)
def test_settings_that_are_refused(stated, message, tmp_path):
    packed, scales, biases = _affine_quantize_tensor(WEIGHT, 64, 4)
    with pytest.raises(ModelError) as raised:
        write(tmp_path, {"m.weight": packed, "m.scales": scales, "m.biases": biases}, **stated)
    assert str(raised.value) == message.format(config=tmp_path / "config.json", model=tmp_path / "model.safetensors")
