"""AWQ's other versions pack differently, and are refused by name."""

from __future__ import annotations

import json

import pytest
import torch
from safetensors.torch import save_file

from qairt.errors import ModelError
from qairt.model.safetensors_weights import SafetensorsWeights


@pytest.mark.parametrize(
    ("config", "named"),
    [
        ({"version": "gemv"}, "4 bits in version gemv"),
        ({"version": "GEMV_FAST"}, "4 bits in version gemv_fast"),
        ({"version": "gemm", "bits": 3}, "3 bits in version gemm"),
        ({"backend": "llm-awq"}, "4 bits in version gemm of llm-awq"),
    ],
)
def test_versions_that_are_refused(config, named, tmp_path):
    tensors = {"m.qweight": torch.zeros(64, 4, dtype=torch.int32), "m.scales": torch.ones(2, 32)}
    save_file(tensors, tmp_path / "model.safetensors")
    path = tmp_path / "config.json"
    path.write_text(json.dumps({"quantization_config": {"quant_method": "awq", **config}}))
    with pytest.raises(ModelError) as raised:
        SafetensorsWeights(tmp_path)
    assert str(raised.value) == (
        f"{path}: AWQ weights of {named} are not supported\n  use a checkpoint of 4 bits in AutoAWQ's GEMM version"
    )
