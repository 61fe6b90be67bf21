from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from tiny_graphs import run, tiny_parts
from tiny_parameters import TOKENS, parameters_of, tiny_parameters

from qairt.graph import files
from qairt.graph.bind import bind
from qairt.graph.build import build_decoder
from qairt.graph.qdq.quantize import quantize_graph
from qairt.graph.weights_file import write_weights
from qairt.model.reference import Reference
from qairt.quant.config import TechniqueConfig
from qairt.quant.encodings import BlockScales, Encodings, range_encoding, symmetric_channels
from qairt.quant.measure.reference_vectors import part_inputs
from qairt.quant.quantize_model import quantize_model
from qairt.quant.simulate import Simulated, SimulatedOps, rounded
from qairt.quant.structure import Structure
from qairt.quant.weight_grid import rounded_weight
from qairt.runtime.metrics import sqnr_db

LPBQ = TechniqueConfig(technique="lpbq", block_size=32)


def test_tensors_round_as_arrays_do() -> None:
    values = np.random.default_rng(0).normal(0, 2, 1000).astype(np.float32)
    for encoding in (range_encoding(-3, 4, 16), range_encoding(-3, 4, 8, symmetric=True)):
        assert np.array_equal(rounded(torch.from_numpy(values), encoding).numpy(), encoding.nearest(values))


def test_without_encodings_it_is_the_float_model(tmp_path: Path) -> None:
    reference = Reference(tiny_parameters(tmp_path))
    simulated = Simulated(reference.parameters, Encodings())
    assert torch.equal(simulated.logits(TOKENS[0]), reference.logits(TOKENS[0]))


def test_more_bits_are_nearer_to_the_float_model(tmp_path: Path) -> None:
    parameters = tiny_parameters(tmp_path)
    expected = Reference(parameters).logits(TOKENS[0]).numpy()
    minmax = quantize_model(parameters, TOKENS, TechniqueConfig(technique="minmax")).encodings
    lpbq = quantize_model(parameters, TOKENS, LPBQ).encodings

    def decibels(encodings: Encodings) -> float:
        return sqnr_db(expected, Simulated(parameters, encodings).logits(TOKENS[0]).numpy())

    activations = decibels(Encodings(minmax.activations))
    assert decibels(lpbq) < decibels(minmax) < activations
    assert activations > 25
    assert decibels(minmax) > 20


@pytest.mark.parametrize("family", ["llama", "qwen2", "qwen3"])
@pytest.mark.parametrize("technique", [TechniqueConfig(technique="minmax"), LPBQ], ids=["minmax", "lpbq"])
def test_the_simulation_is_the_quantized_graph(tmp_path: Path, family: str, technique: TechniqueConfig) -> None:
    """The last 8 of 24 tokens, over the float model's keys and values: torch against ONNX Runtime."""
    parameters = tiny_parameters(tmp_path, family)
    config = parameters.config
    result = quantize_model(parameters, TOKENS, technique)
    places = write_weights(parameters, tmp_path / "weights.bin")
    graph = bind(build_decoder(config, places, tmp_path / "weights.bin"), ar=8, cl=32)
    graph.graph.name = "ar8-cl32_1_of_1"
    files.save(quantize_graph(graph, result.encodings, tmp_path / "quantized.bin"), tmp_path / "quantized.onnx")

    whole = tiny_parts(config, 1)[0]
    inputs = part_inputs(result.reference, config, whole, ar=8, cl=32, mask_floor=result.mask_floor)
    grids = result.encodings.activations
    stored = {
        name: value if name == "input_ids" else grids[name].quantize(value).astype(f"uint{grids[name].bitwidth}")
        for name, value in inputs.items()
    }
    found = grids["logits"].dequantize(run(tmp_path / "quantized.onnx", stored)["logits"])

    simulated = Simulated(parameters, result.encodings)
    held = {name: torch.from_numpy(grids[name].nearest(value)) for name, value in inputs.items() if name in grids}
    hidden = simulated.embed(inputs["input_ids"][0])
    positions = {name: held[name] for name in ("attention_mask", "position_ids_cos", "position_ids_sin")}
    for layer in range(config.num_layers):
        past = held[f"past_key_{layer}_in"], held[f"past_value_{layer}_in"]
        hidden, _ = simulated.run_block(layer, hidden, positions, past)
    expected = simulated.head(hidden).numpy()
    decibels = sqnr_db(expected, found)
    print(f"{family} {technique.technique}: {decibels:.0f} dB")
    assert decibels > 45


@pytest.mark.parametrize("axis", [None, 0, 1, "blocks"])
def test_weights_round_as_arrays_do(axis: int | str | None) -> None:
    rng = np.random.default_rng(0)
    weight = rng.normal(0, 0.1, (64, 24)).astype(np.float32)
    scales = rng.uniform(0.005, 0.02, 24 if axis in (1, "blocks") else 64).astype(np.float32)
    encoding = {
        None: range_encoding(-0.2, 0.3, 8),
        0: symmetric_channels(scales, 8, 0),
        1: symmetric_channels(scales, 8, 1),
        "blocks": symmetric_channels(scales / 8, 4, 1, BlockScales(16, rng.integers(1, 17, (4, 24)).astype(np.uint8))),
    }[axis]
    assert np.array_equal(rounded_weight(torch.from_numpy(weight), encoding).numpy(), encoding.nearest(weight))


def test_biases_round_as_arrays_do() -> None:
    bias = np.random.default_rng(0).normal(0, 2, 24).astype(np.float32)
    encoding = range_encoding(-2, 2, 32, symmetric=True)
    assert np.array_equal(rounded_weight(torch.from_numpy(bias), encoding).numpy(), encoding.nearest(bias))


class InNewMemory(SimulatedOps):
    """Every tensor is rounded in new memory."""

    def _named(self, name: str, value: torch.Tensor) -> torch.Tensor:
        return self._moved(name, value)


@pytest.mark.parametrize("family", ["llama", "phi3", "gpt_oss", "mixtral", "lfm2", "gemma3_text"])
def test_rounding_in_place_overwrites_no_other_tensor(tmp_path: Path, family: str) -> None:
    """Neither weights nor what a result is a view of, though all grids differ."""
    parameters = parameters_of(tmp_path, family)
    structure = Structure(parameters.config)
    grids = {name: range_encoding(-4 - at / 100, 4, 8) for at, name in enumerate(structure.tensors)}
    logits = []
    for kind in (SimulatedOps, InNewMemory):
        simulated = Simulated(parameters, Encodings(grids), keep_weights=True)
        simulated._ops = kind(parameters, Encodings(grids))
        logits.append([simulated.logits(TOKENS[0]) for _ in range(2)])
    for found in logits[0]:
        assert torch.equal(found, logits[1][0])
    assert logits[0][0].unique().numel() > 10
