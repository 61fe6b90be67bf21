"""MXFP4 experts, against transformers."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from tiny_models import IDS, TINY, assert_close, hf_logits, save_tiny
from transformers.integrations.mxfp4 import convert_moe_packed_tensors

from qairt.errors import ModelError
from qairt.model.describe import describe_model
from qairt.model.parameters import open_parameters
from qairt.model.reference import Reference
from qairt.model.safetensors_weights import SafetensorsWeights

NAME = "model.layers.0.mlp.experts.gate_up_proj"
RANDOM = np.random.default_rng(0)
BLOCKS = torch.from_numpy(RANDOM.integers(0, 256, (3, 24, 4, 16), dtype=np.uint8))
BIAS = torch.from_numpy(RANDOM.normal(size=(3, 24)).astype(np.float32))
SCALES = torch.from_numpy(RANDOM.integers(110, 135, (3, 24, 4), dtype=np.uint8))


def test_as_transformers_dequantizes_it_expert_by_expert(tmp_path):
    tensors = {f"{NAME}_blocks": BLOCKS, f"{NAME}_scales": SCALES, f"{NAME}_bias": BIAS}
    save_file(tensors, tmp_path / "model.safetensors")
    (tmp_path / "config.json").write_text(json.dumps({"quantization_config": {"quant_method": "mxfp4"}}))
    weights = SafetensorsWeights(tmp_path)
    experts = "model.layers.0.mlp.experts."
    assert sorted(weights.names()) == [
        f"{experts}{name}" for name in ("gate_proj.bias", "gate_proj.weight", "up_proj.bias", "up_proj.weight")
    ]
    expected = convert_moe_packed_tensors(BLOCKS, SCALES, dtype=torch.float32).numpy().swapaxes(1, 2)
    for place, linear in enumerate(("gate_proj", "up_proj")):
        name = f"{experts}{linear}.weight"
        assert weights.shape(name) == (3, 12, 128), "[experts, out, in]"
        np.testing.assert_array_equal(weights.read(name), expected[:, place::2])
        np.testing.assert_array_equal(weights.read(name, slice(1, 2)), expected[1:2, place::2])
        np.testing.assert_array_equal(weights.read(f"{experts}{linear}.bias"), BIAS[:, place::2].flatten())
    assert str(weights.storage()) == "MXFP4, 4 bits, blocks of 32"


def test_scales_that_do_not_fit(tmp_path):
    save_file({f"{NAME}_blocks": BLOCKS, f"{NAME}_scales": SCALES[:, :, :2].clone()}, tmp_path / "model.safetensors")
    with pytest.raises(ModelError) as raised:
        SafetensorsWeights(tmp_path)
    assert str(raised.value) == (
        f"{tmp_path / 'model.safetensors'}: {NAME} (MXFP4): blocks [3, 24, 4, 16] and scales [3, 24, 2] do not fit\n"
        "  download the whole model again, with the config.json that was published with it"
    )


def test_a_model_of_packed_experts_computes_what_transformers_computes(tmp_path):
    model = save_tiny(tmp_path, "gpt_oss", **TINY["gpt_oss"][1])
    file = tmp_path / "model.safetensors"
    tensors, unpacked = load_file(file), {}
    for name in [name for name in tensors if name.endswith(("experts.gate_up_proj", "experts.down_proj"))]:
        experts, inputs, outputs = tensors.pop(name).shape
        blocks = RANDOM.integers(0, 256, (experts, outputs, inputs // 32, 16), dtype=np.uint8)
        scales = RANDOM.integers(122, 126, blocks.shape[:3], dtype=np.uint8)
        packed = {"_blocks": torch.from_numpy(blocks), "_scales": torch.from_numpy(scales)}
        tensors |= {name + part: values for part, values in packed.items()}
        unpacked[name] = convert_moe_packed_tensors(*packed.values(), dtype=torch.float32)
    save_file(tensors, file, metadata={"format": "pt"})
    path = tmp_path / "config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"quantization_config": {"quant_method": "mxfp4"}}))
    model.load_state_dict(unpacked, strict=False)

    description = describe_model(tmp_path)
    assert str(description.storage) == "MXFP4, 4 bits, blocks of 32"
    reference = Reference(open_parameters(tmp_path, description.config))
    assert_close(reference.logits(IDS).numpy(), hf_logits(model, IDS))
