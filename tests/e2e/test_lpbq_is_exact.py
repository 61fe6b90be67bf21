"""What a technique chose on the LPBQ grid is bit for bit what the quantized ONNX and the DLC hold."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnx_ir as ir
import pytest
from dlc_weights import DlcWeights
from tiny_parameters import TOKENS, tiny_parameters

from qairt.graph import files
from qairt.graph.bind import bind
from qairt.graph.build import build_decoder
from qairt.graph.mha2sha import to_single_heads
from qairt.graph.qdq.quantize import quantize_graph
from qairt.graph.split import cut
from qairt.graph.weights_file import write_weights
from qairt.model.parameters import open_parameters
from qairt.model.parts import plan_split
from qairt.quant.encodings import Encoding
from qairt.quant.quantize_model import quantize_model
from qairt.recipe.files import shipped_recipes
from qairt.stages.technique_file import load_technique

BLOCK = 32
SIZES = {"hidden_size": 128, "intermediate_size": 96, "head_dim": 32}
"""Heads of a width, and layers, that need several blocks."""
TECHNIQUES: dict[str, dict[str, Any]] = {"lpbq": {}, "lpbq_mse": {}, "lpbq_gptq": {}, "lpbq_learned": {"steps": 4}}
"""Recipes, and what makes them quick. The last two change weights."""


@dataclass
class Chosen:
    """A weight, and the grid that the technique chose for it."""

    encoding: Encoding
    weight: np.ndarray

    @property
    def integers(self) -> np.ndarray:
        """[in, out], -8 … 7."""
        return self.encoding.quantize(self.weight) - 8


@dataclass
class Made:
    chosen: dict[str, Chosen]
    """By name in the model."""
    onnx: Path
    is_changed: bool
    """The weights are those that the technique put on the grid, not those that were stored."""


@pytest.fixture(scope="module", params=TECHNIQUES)
def made(tmp_path_factory: pytest.TempPathFactory, request: pytest.FixtureRequest) -> Made:
    folder = tmp_path_factory.mktemp("made")
    parameters = tiny_parameters(folder / "hf", **SIZES)
    technique = load_technique(
        shipped_recipes() / "quantization" / f"{request.param}.yaml", {"block_size": BLOCK, **TECHNIQUES[request.param]}
    )
    result = quantize_model(parameters, TOKENS, technique)
    encodings = result.encodings
    chosen = {
        name: Chosen(encoding, result.overlay[name] if technique.changes_weights else parameters.read(name))
        for name, encoding in encodings.params.items()
        if encoding.blocks is not None
    }
    parameters = open_parameters(folder / "hf", parameters.config, overlay=result.overlay)
    part = plan_split(embedding_bytes=1, layer_bytes=[1, 1], head_bytes=1, num_splits=2)[1]
    places = write_weights(parameters, folder / "weights.bin")
    whole = bind(build_decoder(parameters.config, places, folder / "weights.bin"), ar=8, cl=32)
    heads = to_single_heads(cut(whole, part, name="part"), encodings, folder, "heads.bin")
    onnx = folder / "quantized.onnx"
    files.save(quantize_graph(heads.model, heads.encodings, folder / "quantized.bin"), onnx)
    return Made(chosen, onnx, technique.changes_weights)


def constant(value: Any) -> np.ndarray:
    return np.asarray(value.const_value.numpy())


@dataclass
class Held:
    """A weight as a file holds it."""

    integers: np.ndarray
    block_scale: np.ndarray
    scale: np.ndarray


def in_onnx(onnx: Path) -> Iterator[tuple[str, Held]]:
    """Every block-quantized weight, found by what the graph computes and not by names."""
    for node in files.load(onnx).graph:
        if node.op_type != "DequantizeLinear" or not node.attributes.get_int("block_size", 0):
            continue
        assert node.attributes.get_int("block_size", 0) == BLOCK
        inputs: list[Any] = list(node.inputs)
        weight, scale, zero = inputs
        producer = scale.producer()
        per_block, per_channel, _ = producer.inputs
        assert weight.dtype == ir.DataType.INT4
        assert per_block.dtype == ir.DataType.UINT8
        assert not constant(zero).astype(int).any()
        yield str(weight.name), Held(*map(constant, (weight, per_block, per_channel)))


def same(made: Made, held: dict[str, Held]) -> None:
    """Heads that were cut out of a weight, side by side, are that weight."""
    for name, chosen in made.chosen.items():
        cut_heads = [held[part] for part in sorted(held) if part == name or part.startswith(f"{name}.")]
        assert cut_heads, name
        assert chosen.encoding.blocks is not None
        integers = np.concatenate([part.integers.astype(np.int64) for part in cut_heads], 1)
        np.testing.assert_array_equal(integers, chosen.integers, name)
        block_scale = np.concatenate([part.block_scale for part in cut_heads], 1)
        np.testing.assert_array_equal(block_scale, chosen.encoding.blocks.int_scale, name)
        scale = np.concatenate([part.scale for part in cut_heads])
        assert scale.astype(np.float32).tobytes() == chosen.encoding.scale.tobytes(), name


def test_the_quantized_onnx_holds_what_was_chosen(made: Made) -> None:
    held = dict(in_onnx(made.onnx))
    assert len(made.chosen) == 2 * 7
    assert len(held) == 2 * (4 + 2 + 2 + 1 + 3)  # heads of q, k, v; o; the MLP's three
    same(made, held)


def test_runtimes_multiply_what_the_technique_saw(made: Made) -> None:
    """Integers times block scale times channel scale, in float32: for changed weights the very values that the
    technique optimised, which the layers after it were quantized on."""
    whole = [(name, held) for name, held in in_onnx(made.onnx) if name in made.chosen]
    assert len(whole) == 2 * 4
    for name, held in whole:
        chosen = made.chosen[name]
        effective = held.block_scale.astype(np.float32) * held.scale
        values = held.integers.astype(np.float32) * np.repeat(effective, BLOCK, 0)
        assert values.tobytes() == chosen.encoding.nearest(chosen.weight).tobytes()
        assert np.array_equal(values, chosen.weight) == made.is_changed


@pytest.mark.compiler
def test_the_dlc_holds_what_was_chosen(made: Made, tmp_path: Path) -> None:
    pytest.importorskip("onnxruntime_qnn")
    import qnn_calls

    qnn_calls.quantize(made.onnx, tmp_path / "a.dlc")
    dlc = DlcWeights(tmp_path / "a.dlc")
    held = {}
    for name, stored in in_onnx(made.onnx):
        found = dlc.blocks(name, stored.integers.shape, BLOCK)
        assert found.bits == {8}
        held[name] = Held(found.integers, found.block_scale, found.scale)
    same(made, held)
