"""`rotation: auto` rotates the models that R1 fits, and says why it does not rotate another."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from tiny_models import TINY
from tiny_parameters import TOKENS, tiny_parameters

from qairt.model.parameters import Parameters
from qairt.model.reference import Reference
from qairt.model.rotation import Rotation
from qairt.quant.config import TechniqueConfig
from qairt.quant.rotation_choice import chosen_rotation

AUTO = TechniqueConfig(technique="lpbq", block_size=32, rotation="auto", seed=3)
AFTER = "norms after attention and MLP are not followed by a linear that could take their weights"
REFUSED = {
    "cohere": "LayerNorm subtracts a mean, which a rotation does not keep",
    "cohere2": "LayerNorm subtracts a mean, which a rotation does not keep",
    "exaone4": AFTER,
    "gemma2": AFTER,
    "gemma3_text": AFTER,
    "glm4": AFTER,
    "nemotron": "LayerNorm subtracts a mean, which a rotation does not keep",
    "olmo2": AFTER,
    "olmo3": AFTER,
    "stablelm": "LayerNorm subtracts a mean, which a rotation does not keep",
    "starcoder2": "LayerNorm subtracts a mean, which a rotation does not keep",
}


@pytest.mark.parametrize("name", TINY)
def test_auto_rotates_what_computes_the_same_rotated(name: str, tmp_path: Path) -> None:
    family, changes = TINY[name]
    parameters = tiny_parameters(tmp_path, family, **changes)
    rotation, note = chosen_rotation(AUTO, parameters)
    if family in REFUSED:
        assert (rotation, note) == (None, f"the residual stream is not rotated: {REFUSED[family]}")
        return
    assert (rotation, note) == (Rotation.of(parameters.config, seed=3), None)
    expected = Reference(parameters).logits(TOKENS[0]).numpy()
    turned = Reference(Parameters(parameters.source, parameters.config, rotation=rotation)).logits(TOKENS[0]).numpy()
    assert np.abs(turned - expected).max() < 1e-5 * np.abs(expected).max()


def on_grid(parameters: Parameters) -> dict[str, np.ndarray]:
    """Weights on a symmetric 4-bit grid of blocks of 32."""
    name = "model.layers.0.self_attn.q_proj.weight"
    steps = np.random.default_rng(0).integers(-8, 8, parameters.shape(name))
    return {name: (steps * 0.01).astype(np.float32)}


def test_auto_keeps_weights_that_lie_on_a_grid(tmp_path: Path) -> None:
    parameters = tiny_parameters(tmp_path, change=on_grid)
    note = "the residual stream is not rotated: the weights lie on a 4-bit grid, which is kept"
    assert chosen_rotation(AUTO, parameters) == (None, note)
    eight = TechniqueConfig(technique="minmax", rotation="auto")
    assert chosen_rotation(eight, parameters) == (Rotation.of(parameters.config), None)


def test_what_is_named_is_done(tmp_path: Path) -> None:
    parameters = tiny_parameters(tmp_path, change=on_grid)
    config = parameters.config
    named = TechniqueConfig(technique="lpbq", block_size=32, rotation=["R1", "R2"], seed=1)
    assert chosen_rotation(named, parameters) == (Rotation.of(config, values=True, seed=1), None)
    values = named.model_copy(update={"rotation": ["R2"]})
    assert chosen_rotation(values, parameters) == (Rotation.of(config, stream=False, values=True, seed=1), None)
    assert chosen_rotation(named.model_copy(update={"rotation": []}), parameters) == (None, None)
