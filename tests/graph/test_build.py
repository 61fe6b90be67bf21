"""The built graph computes what Hugging Face's model computes, for every family."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx_ir as ir
import pytest
from tiny_graphs import bound, export_adapted, export_tiny, feeds, run
from tiny_models import hf_decoded, hf_logits

from qairt.errors import GraphError, ModelError
from qairt.graph import files
from qairt.graph.bind import bind
from qairt.graph.build import build_decoder
from qairt.graph.weights_file import write_weights
from qairt.model.lora.shape import base_values
from qairt.model.parameters import open_parameters
from qairt.model.reference import Reference
from qairt.runtime.metrics import sqnr_db

LLAMA3 = {
    "rope_type": "llama3",
    "factor": 8.0,
    "low_freq_factor": 1.0,
    "high_freq_factor": 4.0,
    "original_max_position_embeddings": 16,
    "rope_theta": 10000.0,
}
CASES = [
    ("llama", {"tie_word_embeddings": True}),
    ("llama", {"attention_bias": True, "mlp_bias": True, "tie_word_embeddings": False}),
    ("llama", {"rope_parameters": LLAMA3}),
    ("mistral", {}),
    ("phi3", {}),
    ("qwen2", {}),
    ("qwen3", {}),
    ("qwen3", {"num_key_value_heads": 4, "tie_word_embeddings": True}),
]


@pytest.mark.parametrize(("family", "changes"), CASES)
def test_prefill_then_decode_equals_hugging_face(tmp_path: Path, family: str, changes: dict):
    model, config, onnx = export_tiny(tmp_path, family, **changes)
    ids = [int(token) for token in np.random.default_rng(0).integers(0, 128, 12)]
    prompt = 8
    calls = [run(bound(onnx, prompt), feeds(config, ids[:prompt]))]
    np.testing.assert_allclose(calls[0]["logits"][0], hf_logits(model, ids[:prompt]), atol=1e-4)
    rows = [calls[0]["logits"][0, -1]]
    one = bound(onnx, 1)
    for token in ids[prompt:]:
        calls.append(run(one, feeds(config, [token], calls)))
        rows.append(calls[-1]["logits"][0, -1])
    np.testing.assert_allclose(rows, hf_decoded(model, ids, prompt), atol=1e-4)


def test_dimensions_have_names_and_weights_stay_outside(tmp_path: Path):
    _, config, onnx = export_tiny(tmp_path, "llama")
    model = files.load(onnx)
    shapes = {value.name: [str(size) for size in value.shape] for value in model.graph.inputs}
    assert shapes["input_ids"] == ["1", "ar"]
    assert shapes["attention_mask"] == ["1", "1", "ar", "cl"]
    assert shapes["past_key_1_in"] == ["2", "1", "16", "past"]
    assert shapes["past_value_1_in"] == ["2", "1", "past", "16"]
    assert [value.name for value in model.graph.outputs][:3] == ["logits", "past_key_0_out", "past_value_0_out"]
    floats = [v.const_value for v in model.graph.initializers.values() if v.const_value.dtype == ir.DataType.FLOAT]
    assert floats
    assert all(isinstance(tensor, ir.ExternalTensor) and tensor.location == "weights.bin" for tensor in floats)
    assert all(tensor.offset % 4096 == 0 for tensor in floats)
    assert onnx.stat().st_size < 40_000
    assert files.external_files(onnx) == {"weights.bin"}


def test_products_with_cosine_and_sine_have_them_first(tmp_path: Path):
    """The other order is miscompiled behind a norm: see `qairt.model.decoder._rotate`."""
    _, config, onnx = export_tiny(tmp_path, "qwen3")
    inputs = {"position_ids_cos", "position_ids_sin"}
    users = [node for node in files.load(onnx).graph if inputs & {value.name for value in node.inputs if value}]
    assert len(users) == 8 * config.num_layers
    assert all(node.op_type == "Mul" and node.inputs[0].name in inputs for node in users)


def test_the_same_model_gives_the_same_bytes(tmp_path: Path):
    _, _, one = export_tiny(tmp_path / "one", "qwen3")
    _, _, two = export_tiny(tmp_path / "two", "qwen3")
    assert one.read_bytes() == two.read_bytes()
    assert (tmp_path / "one" / "weights.bin").read_bytes() == (tmp_path / "two" / "weights.bin").read_bytes()


def test_a_weight_that_is_not_a_number_is_named(tmp_path: Path):
    _, config, _ = export_tiny(tmp_path, "llama")
    bad = {"model.layers.1.mlp.up_proj.weight": np.full((64, 96), np.nan, np.float32)}
    parameters = open_parameters(tmp_path / "hf", config, bad)
    with pytest.raises(
        ModelError, match=r"the weight model\.layers\.1\.mlp\.up_proj\.weight holds 6,144 NaN or infinite values"
    ):
        write_weights(parameters, tmp_path / "new.bin")


def test_context_must_be_longer_than_a_call(tmp_path: Path):
    _, _, onnx = export_tiny(tmp_path, "llama")
    with pytest.raises(GraphError, match="context length 8 must be larger than the auto-regressive length 8"):
        bind(files.load(onnx), ar=8, cl=8)


def test_a_file_that_is_no_graph_is_named(tmp_path: Path):
    path = tmp_path / "bad.onnx"
    path.write_bytes(b"not a graph")
    with pytest.raises(GraphError, match=r"bad\.onnx: this is not an ONNX graph"):
        files.load(path)


def test_thirty_layers_are_built_without_reading_a_weight(tmp_path: Path):
    _, config, _ = export_tiny(tmp_path, "llama")
    large = config.model_copy(update={"num_layers": 30})
    from qairt.graph.weights_file import TensorLocation
    from qairt.model.parameters import _graph_shapes

    places = {name: TensorLocation(0, 0, shape) for name, shape in _graph_shapes(large).items()}
    model = build_decoder(large, places, tmp_path / "missing.bin")
    assert len(model.graph.outputs) == 61


@pytest.mark.parametrize("hot_switch", [False, True])
@pytest.mark.parametrize(("family", "changes"), [("llama", {"attention_bias": True}), ("qwen3", {})])
def test_branches_equal_the_reference(tmp_path: Path, family: str, changes: dict, hot_switch: bool):
    parameters, shape, values, onnx = export_adapted(tmp_path, family, hot_switch=hot_switch, **changes)
    ids = [int(token) for token in np.random.default_rng(0).integers(0, 128, 8)]
    whole = bound(onnx, 8)
    inputs = {value.name: tuple(value.shape) for value in files.load(whole).graph.inputs}
    assert inputs.items() >= shape.input_shapes(parameters.config).items()
    found = run(whole, feeds(parameters.config, ids) | values)["logits"][0]
    assert sqnr_db(Reference(parameters, branches=values).logits(ids).numpy(), found) >= 100
    base = run(whole, feeds(parameters.config, ids) | base_values(shape, parameters.config))["logits"][0]
    assert sqnr_db(Reference(parameters).logits(ids).numpy(), base) >= 100
    assert sqnr_db(base, found) < 20
