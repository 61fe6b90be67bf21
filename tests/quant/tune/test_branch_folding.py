"""Branches folded on tensors are those folded for the graph: reordered, scaled, rotated."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from tiny_models import TINY
from tiny_parameters import tiny_parameters

from qairt.model.parameters import Parameters
from qairt.model.rotation import Rotation, why_not_rotatable
from qairt.quant.precisions import linear_shapes
from qairt.quant.tune.branch_folding import BranchFolding


@pytest.mark.parametrize("name", ["llama", "glm4", "granite", "smollm3", "qwen3"])
def test_a_branch_is_folded_as_for_the_graph(name: str, tmp_path: Path) -> None:
    family, changes = next(tiny for tiny in TINY.values() if tiny[0] == name)
    stored = tiny_parameters(tmp_path, family, **changes)
    rotatable = why_not_rotatable(stored.config) is None
    assert rotatable == (name != "glm4")
    random = np.random.default_rng(0)
    for stream, values in ((False, False), (False, True), *([(True, False), (True, True)] if rotatable else [])):
        rotation = Rotation.of(stored.config, stream=stream, values=values) if stream or values else None
        parameters = Parameters(stored.source, stored.config, rotation=rotation)
        folding = BranchFolding(parameters, "cpu")
        for weight, (inputs, outputs) in linear_shapes(stored.config).items():
            module = weight.removesuffix(".weight")
            a, b = (random.normal(size=size).astype(np.float32) for size in ((inputs, 3), (3, outputs)))
            expected_a, expected_b = parameters.folded_branch(module, a, b)
            np.testing.assert_allclose(folding.a(module, torch.from_numpy(a)), expected_a, atol=2e-6, rtol=1e-5)
            np.testing.assert_allclose(folding.b(module, torch.from_numpy(b)), expected_b, atol=2e-6, rtol=1e-5)
