"""LoRA branches are calibrated while they are on, and their encodings fit other adapters of the same shape."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pytest
from made_adapters import made_adapter, ranks_of
from tiny_graphs import export_adapted
from tiny_parameters import TOKENS, tiny_parameters

from qairt.graph import files
from qairt.model.lora.shape import LoraShape, base_values, branch_values, shape_of
from qairt.model.parameters import Parameters
from qairt.model.reference import Reference
from qairt.quant.config import TechniqueConfig
from qairt.quant.encodings_json import write_encodings
from qairt.quant.execution import Execution
from qairt.quant.lora import AdaptedText, LoraCalibration
from qairt.quant.quantize_model import QuantizationResult, quantize_model
from qairt.quant.simulate import Simulated
from qairt.runtime.metrics import sqnr_db

MINMAX = TechniqueConfig(technique="minmax")
LEARNED = TechniqueConfig(technique="lpbq", block_size=32, rounding="learned", steps=4)
OTHER = [np.random.default_rng(9).integers(3, 128, 24)]

Values = Mapping[str, np.ndarray]


def adapted(folder: Path, family: str = "llama") -> tuple[Parameters, LoraShape, Values]:
    """A tiny model, and an adapter that changes much."""
    parameters = tiny_parameters(folder, family)
    adapter = made_adapter(parameters.config, "one", 4, size=0.5)
    shape = shape_of(parameters.config, [["one"]], ranks_of(adapter))
    return parameters, shape, branch_values(shape, [(adapter, 1.0)], parameters)


def calibrated(
    parameters: Parameters, shape: LoraShape, values: Values, technique: TechniqueConfig = MINMAX, **more: object
) -> QuantizationResult:
    lora = LoraCalibration(shape, [AdaptedText("one", OTHER, values)], **more)
    return quantize_model(parameters, TOKENS, technique, lora=lora)


@pytest.fixture(scope="module")
def llama(tmp_path_factory: pytest.TempPathFactory) -> tuple[Parameters, LoraShape, Values, QuantizationResult]:
    found = adapted(tmp_path_factory.mktemp("llama"))
    return *found, calibrated(*found)


def fidelity(parameters: Parameters, result: QuantizationResult, values: Values, ids: np.ndarray) -> float:
    exact = Reference(parameters, branches=values).logits(ids).numpy()
    return sqnr_db(exact, Simulated(parameters, result.encodings, branches=values).logits(ids).numpy())


def test_ranges_with_the_branch_on_keep_it_alive(llama) -> None:
    parameters, shape, values, result = llama
    off = calibrated(parameters, shape, base_values(shape, parameters.config))
    assert fidelity(parameters, result, values, OTHER[0]) > 18
    assert fidelity(parameters, off, values, OTHER[0]) < 5
    assert fidelity(parameters, result, base_values(shape, parameters.config), TOKENS[0]) > 18


def test_grids_of_a_and_b(llama) -> None:
    _, _, values, result = llama
    for name, value in values.items():
        encoding = result.encodings.activations[name]
        assert (encoding.bitwidth, encoding.symmetric, encoding.offset.tolist()) == (8, True, [-128])
        largest = 1.0 if name.endswith("_a") else 2 * float(np.abs(value).max())
        assert float(encoding.maximum[0]) == pytest.approx(largest, rel=1e-5)


def test_every_tensor_of_the_graph_has_an_encoding_and_nothing_else(tmp_path: Path) -> None:
    parameters, shape, values, onnx = export_adapted(tmp_path, "qwen2")
    encodings = calibrated(parameters, shape, values).encodings
    graph = files.load(onnx).graph
    tensors = {value.name for value in graph.inputs} | {value.name for node in graph for value in node.outputs}
    assert set(encodings.activations) == tensors - {"input_ids"}


@pytest.mark.parametrize("updatable", ["adapter_only", "all"])
def test_each_concurrency_has_encodings_of_its_own(llama, updatable: str) -> None:
    parameters, shape, values, together = llama
    result = calibrated(parameters, shape, values, updatable=updatable)
    assert list(result.own_encodings) == ["base", "one"]
    assert write_encodings(result.encodings) == write_encodings(together.encodings)
    base, one = (result.own_encodings[name].activations for name in ("base", "one"))
    branch = {name for name in base if "lora" in name}
    for own in (base, one):
        other = {name for name in own if not own[name].same_grid(together.encodings.activations[name])}
        assert other <= branch if updatable == "adapter_only" else other - branch
    a, b = "layers.0.attn.q.lora_a", "lora_0_q_proj_b"
    assert base[a].scale[0] < 1e-6  # zero on the base's text
    assert one[b].maximum[0] == pytest.approx(np.abs(values[b]).max(), rel=1e-5)


def test_vectors_of_the_first_concurrency(llama) -> None:
    parameters, _, values, result = llama
    assert result.adapted is not None
    np.testing.assert_array_equal(result.adapted.ids, OTHER[0])
    expected = Reference(parameters, branches=values).logits(OTHER[0]).numpy()
    np.testing.assert_allclose(result.adapted.values("logits")[0], expected, rtol=1e-3, atol=1e-3)
    np.testing.assert_array_equal(result.adapted.values("lora_0_q_proj_a"), values["lora_0_q_proj_a"])
    assert not any(name.startswith("lora_") for name in result.reference.tensors)


def test_a_killed_calibration_resumes_with_the_same_result(llama, tmp_path: Path) -> None:
    parameters, shape, values, _ = llama
    lora = LoraCalibration(shape, [AdaptedText("one", OTHER, values)], "all")

    def kill(fraction: float, what: str) -> None:
        if what == "layer 2 of 2":
            raise KeyboardInterrupt

    whole = quantize_model(parameters, TOKENS, LEARNED, lora=lora, execution=Execution(tmp_path / "whole"))
    killed = Execution(tmp_path / "part", progress=kill)
    with pytest.raises(KeyboardInterrupt):
        quantize_model(parameters, TOKENS, LEARNED, lora=lora, execution=killed)
    seen: list[str] = []
    resuming = Execution(tmp_path / "part", progress=lambda fraction, what: seen.append(what))
    resumed = quantize_model(parameters, TOKENS, LEARNED, lora=lora, execution=resuming)
    assert "layer 1 of 2" not in seen
    assert write_encodings(resumed.encodings) == write_encodings(whole.encodings)
    for name, own in whole.own_encodings.items():
        assert write_encodings(resumed.own_encodings[name]) == write_encodings(own)
    for found, wanted in ((resumed.adapted, whole.adapted), (resumed.adapted_exported, whole.adapted_exported)):
        assert found is not None
        assert wanted is not None
        for name, value in wanted.tensors.items():
            np.testing.assert_array_equal(found.tensors[name], value)
    assert whole.adapted_exported is not None
    assert np.abs(whole.adapted_exported.values("hidden_2") - whole.adapted.values("hidden_2")).max() > 0
