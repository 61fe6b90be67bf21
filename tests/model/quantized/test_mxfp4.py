"""MXFP4 experts, against transformers."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from transformers.integrations.mxfp4 import convert_moe_packed_tensors

from qairt.errors import ModelError
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
