"""FP8 checkpoints: logits and weights of transformers, which dequantizes them on a CPU."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from tiny_models import save_tiny
from tiny_quantized import store_as_fp8, to_fp8
from transformers import AutoModelForCausalLM

from qairt.errors import ModelError
from qairt.model.describe import describe_model
from qairt.model.parameters import open_parameters
from qairt.model.reference import Reference
from qairt.model.safetensors_weights import SafetensorsWeights

IDS = list(range(3, 43))


@pytest.mark.parametrize("block", [(32, 32), (16, 8), None])
def test_as_transformers_dequantizes_it(block, tmp_path):
    save_tiny(tmp_path, "llama")
    store_as_fp8(tmp_path, block)
    model = AutoModelForCausalLM.from_pretrained(tmp_path, dtype=torch.float32).eval()
    description = describe_model(tmp_path)
    weights = SafetensorsWeights(tmp_path)
    for name, parameter in model.state_dict().items():
        np.testing.assert_array_equal(weights.read(name), parameter.numpy(), err_msg=name)
    ours = Reference(open_parameters(tmp_path, description.config)).logits(IDS).numpy()
    with torch.no_grad():
        assert np.abs(ours - model(torch.tensor([IDS])).logits[0].numpy()).max() < 1e-4


def test_projections_that_are_stored_joined(tmp_path):
    """Each is some rows of a packed weight."""
    save_tiny(tmp_path, "phi3")
    store_as_fp8(tmp_path, (32, 32))
    model = AutoModelForCausalLM.from_pretrained(tmp_path, dtype=torch.float32).eval()
    ours = Reference(open_parameters(tmp_path, describe_model(tmp_path).config)).logits(IDS).numpy()
    with torch.no_grad():
        assert np.abs(ours - model(torch.tensor([IDS])).logits[0].numpy()).max() < 1e-4


def test_the_last_blocks_may_be_smaller(tmp_path):
    """192 rows in blocks of 128: transformers would make blocks of 96, which is not what was written."""
    tensor = torch.randn(192, 200, generator=torch.Generator().manual_seed(0))
    parts = to_fp8(tensor, (128, 128))
    save_file({f"m.weight{part}": value for part, value in parts.items()}, tmp_path / "model.safetensors")
    stated = {"quant_method": "fp8", "weight_block_size": [128, 128]}
    (tmp_path / "config.json").write_text(json.dumps({"quantization_config": stated}))
    scales = parts["_scale_inv"].repeat_interleave(128, 0)[:192].repeat_interleave(128, 1)[:, :200]
    np.testing.assert_array_equal(SafetensorsWeights(tmp_path).read("m.weight"), (parts[""].float() * scales).numpy())


@pytest.mark.parametrize("kind", [torch.uint8, torch.float8_e8m0fnu])
def test_scales_that_are_powers_of_two(kind, tmp_path):
    values = torch.randn(32, 64, generator=torch.Generator().manual_seed(0)).to(torch.float8_e5m2)
    powers = torch.tensor([[120, 127], [128, 130]], dtype=torch.uint8)
    tensors = {"m.weight": values, "m.weight_scale_inv": powers.view(kind)}
    save_file(tensors, tmp_path / "model.safetensors")
    scales = (powers.float() - 127).exp2().repeat_interleave(16, 0).repeat_interleave(32, 1)
    np.testing.assert_array_equal(SafetensorsWeights(tmp_path).read("m.weight"), (values.float() * scales).numpy())


def test_a_weight_without_a_scale_is_refused(tmp_path):
    save_file({"m.weight": torch.zeros(4, 4).to(torch.float8_e4m3fn)}, tmp_path / "model.safetensors")
    with pytest.raises(ModelError) as raised:
        SafetensorsWeights(tmp_path)
    assert str(raised.value) == (
        f"{tmp_path / 'model.safetensors'}: m.weight is stored as F8_E4M3 without m.weight_scale or "
        "m.weight_scale_inv\n  download the whole model again, or use the float model it was made from"
    )
