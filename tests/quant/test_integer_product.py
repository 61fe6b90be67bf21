"""Products in integers, against float64 on the same grids; and what is not computed in them."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from tiny_parameters import TOKENS, parameters_of, tiny_parameters

from qairt.model.torch_ops import TorchOps
from qairt.quant import simulate
from qairt.quant.config import TechniqueConfig
from qairt.quant.encodings import BlockScales, Encoding, Encodings, per_tensor, range_encoding, symmetric_channels
from qairt.quant.integer_product import IntegerWeight, StoredBytes, fits_bytes, has_integer_products
from qairt.quant.quantize_model import quantize_model
from qairt.quant.simulate import Simulated, SimulatedOps, rounded
from qairt.runtime.metrics import sqnr_db

needs_bytes = pytest.mark.skipif(not has_integer_products("cpu"), reason="this processor multiplies no bytes")
MINMAX, LPBQ = TechniqueConfig(technique="minmax"), TechniqueConfig(technique="lpbq", block_size=32)
RNG = np.random.default_rng(0)
WIDTH = 96
WEIGHTS = RNG.normal(0, 1, (WIDTH, 40)).astype(np.float32)
CHANNELS = symmetric_channels(np.abs(WEIGHTS).max(0) / 7, 4, 1)
BLOCKS = replace(CHANNELS, blocks=BlockScales(32, RNG.integers(1, 17, (3, 40)).astype(np.uint8)))
GRIDS = {
    "4 bits": CHANNELS,
    "blocks": replace(BLOCKS, scale=CHANNELS.scale / 16),
    "8 bits": symmetric_channels(np.abs(WEIGHTS).max(0) / 127, 8, 1),
    "one scale": range_encoding(-3, 3, 8, symmetric=True),
}
INPUTS = {
    "16 bits": range_encoding(-3, 4, 16),
    "far from zero": range_encoding(0, 9, 16),
    "below zero": range_encoding(-9, 0, 16),
    "signed 16 bits": range_encoding(-3, 3, 16, symmetric=True),
    "8 bits": range_encoding(-3, 4, 8),
    "12 bits": range_encoding(-1, 4, 12),
}


@needs_bytes
@pytest.mark.parametrize("grid", GRIDS.values(), ids=GRIDS)
@pytest.mark.parametrize("inputs", INPUTS.values(), ids=INPUTS)
def test_products_are_those_of_float64(grid: Encoding, inputs: Encoding) -> None:
    """With one rounding at the end, relative to the largest term."""
    values = RNG.normal(0, 2, (2, 7, WIDTH)).astype(np.float32)
    x = rounded(torch.from_numpy(values), inputs)
    found = IntegerWeight(torch.from_numpy(WEIGHTS), grid).product(StoredBytes.of(x, inputs))
    integers = inputs.to_steps(values).reshape(-1, WIDTH).astype(np.float64) * np.float64(inputs.scale)
    expected = integers @ grid.nearest(WEIGHTS).astype(np.float64)
    assert found.shape == (14, 40)
    np.testing.assert_allclose(found.numpy(), expected, rtol=1e-6, atol=1e-6 * np.abs(expected).max())


@needs_bytes
def test_the_largest_bytes_do_not_saturate() -> None:
    weight = torch.full((512, 8), -128.0)
    x = torch.full((3, 512), 65535.0)
    found = IntegerWeight(weight, per_tensor(1.0, -128, 8, symmetric=True)).product(
        StoredBytes.of(x, per_tensor(1.0, 0, 16, symmetric=False))
    )
    assert torch.equal(found, torch.full((3, 8), -128.0 * 65535 * 512))


def test_which_weights_fit() -> None:
    assert all(map(fits_bytes, GRIDS.values()))
    assert not fits_bytes(symmetric_channels(np.ones(4, np.float32), 16, 1))
    assert not fits_bytes(range_encoding(0, 4, 8))  # 0 … 255
    assert not fits_bytes(replace(GRIDS["8 bits"], axis=0))
    wide = BlockScales(32, np.full((3, 40), 17, np.uint8))
    assert not fits_bytes(replace(CHANNELS, blocks=wide))


def test_not_on_a_gpu_nor_without_vnni(monkeypatch: pytest.MonkeyPatch) -> None:
    """There oneDNN may saturate."""
    uncached = has_integer_products.__wrapped__
    assert not uncached("cuda")
    monkeypatch.setattr(torch.cpu, "_is_vnni_supported", lambda: False)
    assert not uncached("cpu")
    monkeypatch.setattr(torch.cpu, "_is_vnni_supported", lambda: True)
    monkeypatch.setattr(IntegerWeight, "product", lambda self, inputs: torch.zeros(4, 8))
    assert not uncached("cpu")


@needs_bytes
@pytest.mark.parametrize("family", ["llama", "qwen2", "mixtral", "lfm2", "gemma3_text"])
@pytest.mark.parametrize("technique", [MINMAX, LPBQ], ids=["minmax", "lpbq"])
def test_the_simulation_is_the_same_in_integers(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, family: str, technique: TechniqueConfig
) -> None:
    """But for values next to the middle of two steps; every linear is computed in integers."""
    layers = {} if family == "lfm2" else {"num_hidden_layers": 2}  # convolutions lie in four
    parameters = parameters_of(tmp_path, family, **layers)
    encodings = quantize_model(parameters, TOKENS, technique).encodings
    floats: list[str] = []
    product = TorchOps.product
    monkeypatch.setattr(TorchOps, "product", lambda self, x, name: floats.append(name) or product(self, x, name))
    found = Simulated(parameters, encodings).logits(TOKENS[0])
    assert not floats
    monkeypatch.setattr(simulate, "has_integer_products", lambda device: False)
    expected = Simulated(parameters, encodings).logits(TOKENS[0])
    assert floats
    assert sqnr_db(expected.numpy(), found.numpy()) > 55


@needs_bytes
def test_what_is_held_and_let_go(tmp_path: Path) -> None:
    parameters = tiny_parameters(tmp_path)
    encodings = quantize_model(parameters, TOKENS, MINMAX).encodings
    ops = SimulatedOps(parameters, encodings)
    names = parameters.layer_names(0)
    ops.hold(names)
    assert set(ops._held()) == set(names)
    assert set(ops._weights) == {name for name in names if "norm" in name}
    one = next(name for name in names if name.endswith("q_proj.weight"))
    ops.release([one])
    assert set(ops._held()) == set(names) - {one}
    ops.hold([one])
    assert ops._held() == [one]
    ops.release()
    assert not ops._held()


def test_without_grids_of_inputs_nothing_is_computed_in_integers(tmp_path: Path) -> None:
    parameters = tiny_parameters(tmp_path)
    encodings = quantize_model(parameters, TOKENS, MINMAX).encodings
    assert not SimulatedOps(parameters, Encodings(params=encodings.params))._input_grids
    assert not SimulatedOps(parameters, Encodings(encodings.activations))._input_grids
