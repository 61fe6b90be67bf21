"""What enters a layer's MLP, against the layer's own norm in transformers."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from tiny_models import TINY, save_tiny

from qairt.model.describe import describe_model
from qairt.model.parameters import open_parameters
from qairt.quant.measure.attended import with_attended
from qairt.verify.recorded_text import record_text

IDS = np.random.default_rng(0).integers(3, 100, 20).tolist()
NORMS = {"llama": "post_attention_layernorm", "gemma2": "pre_feedforward_layernorm", "lfm2": "ffn_norm"}


@pytest.mark.parametrize("family", NORMS)
def test_it_is_what_transformers_norms_before_the_mlp(tmp_path: Path, family: str):
    kind, changes = TINY[family]
    model = save_tiny(tmp_path, kind, **changes)
    parameters = open_parameters(tmp_path, describe_model(tmp_path).config)
    read: list[np.ndarray] = []
    for layer in model.model.layers:
        getattr(layer, NORMS[family]).register_forward_pre_hook(lambda norm, args: read.append(args[0].numpy()))
    with torch.no_grad():
        model(torch.tensor([IDS]))
    recorded = record_text(parameters, IDS)
    vectors = with_attended(recorded, parameters)
    assert len(read) == parameters.config.num_layers
    for layer, wanted in enumerate(read):
        np.testing.assert_allclose(vectors.values(f"attended_{layer}"), wanted, atol=2e-4)
    assert vectors.tensors.keys() == recorded.tensors.keys()
    assert np.array_equal(vectors.ids, IDS)
