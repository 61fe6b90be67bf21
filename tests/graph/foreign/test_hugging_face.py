"""Graphs as torch and optimum export Hugging Face models: adopted, bound, split into parts and heads."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnx.version_converter
import pytest
from adopted_chain import IDS, assert_computes_the_model, no_encodings
from hf_graphs import AR, DYNAMO, PAST, calibrated, dynamo_model, export_hf, hf_feeds
from tiny_graphs import run
from tiny_models import tiny_model

from qairt.errors import GraphError, RecipeError
from qairt.graph import files
from qairt.graph.foreign.adopt import adopt, layer_sizes
from qairt.graph.foreign.encodings import summarized
from qairt.quant.encodings_json import read_encodings


@pytest.mark.parametrize(
    ("family", "changes", "given"),
    [
        ("llama", {}, {"attention": "eager", "opset": 17}),
        ("llama", {}, {"attention": "sdpa", "opset": 17}),
        ("llama", {}, {"attention": "sdpa", "opset": 20}),
        ("llama", {}, {"attention": "sdpa", "opset": 19}),
        ("llama", {"num_key_value_heads": 4}, {"attention": "eager", "opset": 18}),
        ("llama", {"num_key_value_heads": 1}, {"attention": "eager", "opset": 17, "dynamic": False}),
        ("qwen2", {}, {"attention": "eager", "opset": 17}),
        ("qwen3", {}, {"attention": "sdpa", "opset": 17}),
        ("mistral", {"sliding_window": None}, {"attention": "eager", "opset": 17}),
    ],
)
def test_what_the_legacy_exporter_writes(tmp_path: Path, family: str, changes: dict[str, Any], given: dict[str, Any]):
    model = tiny_model(family, **changes)
    assert_computes_the_model(tmp_path, model, export_hf(tmp_path / "theirs.onnx", model, **given))


@pytest.mark.parametrize("opset", [21, 22])
def test_what_onnx_own_converter_makes_of_it(tmp_path: Path, opset: int):
    model = tiny_model("llama")
    path = export_hf(tmp_path / "theirs.onnx", model, attention="sdpa", opset=20)
    onnx.save(onnx.version_converter.convert_version(onnx.load(path), opset), path)
    assert files.load(path).opset_imports[""] == opset
    assert_computes_the_model(tmp_path, model, path)


@pytest.mark.parametrize("name", ["eager_opset18", "sdpa_opset23"])
def test_what_the_dynamo_exporter_writes(tmp_path: Path, name: str):
    """Opset 23 has `Attention` and `RotaryEmbedding`, which become single steps."""
    assert_computes_the_model(tmp_path, dynamo_model(), DYNAMO / f"{name}.onnx")


def test_sizes_of_the_layers_of_such_a_graph(tmp_path: Path):
    embedding, layers, head = layer_sizes(DYNAMO / "eager_opset18.onnx")
    assert embedding == 4 * 40 * 16
    assert len(layers) == 2
    assert head >= 4 * 40 * 16


def test_encodings_keep_their_meaning_under_our_names(tmp_path: Path):
    model = tiny_model("llama")
    theirs = export_hf(tmp_path / "theirs.onnx", model, attention="sdpa")
    first = hf_feeds(theirs, IDS[:5])
    outputs = run(theirs, first)
    path = calibrated(theirs, [first, hf_feeds(theirs, IDS[5:], outputs)], tmp_path / "theirs.encodings")
    given = read_encodings(path.read_text()).activations
    folder = tmp_path / "adopted"
    folder.mkdir()
    onnx_path = folder / "model.onnx"
    told = adopt(theirs, path, onnx=onnx_path, weights=folder / "weights.bin", encodings=folder / "encodings")
    found = read_encodings((folder / "encodings").read_text())
    names = {value.name for node in files.load(onnx_path).graph for value in node.outputs}
    names |= {value.name for value in files.load(onnx_path).graph.inputs} - {"input_ids"}
    assert set(found.activations) >= names
    assert set(found.params) >= {
        name for name, value in files.load(onnx_path).graph.initializers.items() if value.dtype.is_floating_point()
    }
    for name in ("past_key_0_in", "past_key_0_out", "present.0.key"):
        assert found.activations[name].same_grid(given["present.0.key"])
    query = "/model/model/layers.0/self_attn/Mul_8_output_0"  # scaled once more: torch scales query and key by the root
    assert np.isclose(found.activations[f"{query}.scaled"].scale[0], given[query].scale[0] / 2)
    notices = [str(each) for each in told]
    assert "attention_mask: 16 bits from -100 to 0, as the file has no usable encoding of it" in notices
    exact = [notice for notice in notices if notice.startswith("constant ")]
    assert len(exact) > 1
    assert all(notice.endswith(": its exact encoding, 16 bits, as the file has none") for notice in exact)
    assert f"{exact[0]}; {len(exact) - 1} other tensors likewise" in summarized(told)


def renamed(path: Path, names: dict[str, str]) -> Path:
    """The graph with other names of inputs and outputs."""
    model = onnx.load(path)
    for value in (*model.graph.input, *model.graph.output):
        value.name = names.get(value.name, value.name)
    for node in model.graph.node:
        for place, name in enumerate(node.input):
            node.input[place] = names.get(name, name)
        for place, name in enumerate(node.output):
            node.output[place] = names.get(name, name)
    onnx.save(model, path)
    return path


ODD = {"input_ids": "tokens", "attention_mask": "seen", "position_ids": "places", "logits": "scores"}
ODD |= {f"past_key_values.{i}.{kind}": f"cache/{kind}/{i}" for i in range(2) for kind in ("key", "value")}
ODD |= {f"present.{i}.{kind}": f"new/{kind}/{i}" for i in range(2) for kind in ("key", "value")}
IO_NAMES = {"input_ids": "tokens", "attention_mask": "seen", "position_ids": "places", "logits": "scores"}
IO_NAMES |= {f"past_{kind}_{{i}}_in": f"cache/{kind}/{{i}}" for kind in ("key", "value")}
IO_NAMES |= {f"past_{kind}_{{i}}_out": f"new/{kind}/{{i}}" for kind in ("key", "value")}


def adopt_named(tmp_path: Path, theirs: Path, io_names: dict[str, str]) -> Path:
    folder = tmp_path / "adopted"
    folder.mkdir(exist_ok=True)
    onnx_path = folder / "model.onnx"
    empty = no_encodings(tmp_path)
    adopt(theirs, empty, onnx=onnx_path, weights=folder / "w.bin", encodings=folder / "encodings", io_names=io_names)
    return onnx_path


def test_io_names_map_a_graph_of_other_names(tmp_path: Path):
    theirs = renamed(export_hf(tmp_path / "theirs.onnx", tiny_model("llama")), ODD)
    model = files.load(adopt_named(tmp_path, theirs, IO_NAMES))
    assert {value.name for value in model.graph.inputs} == {
        *("input_ids", "attention_mask", "position_ids_cos", "position_ids_sin"),
        *(f"past_{kind}_{i}_in" for i in range(2) for kind in ("key", "value")),
    }
    assert model.graph.outputs[0].name == "logits"


@pytest.mark.parametrize(
    ("io_names", "error", "message"),
    [
        (
            {},
            GraphError,
            "no Gather reads input_ids\n  the graph's inputs are tokens, seen, places, cache/key/0, cache/value/0, "
            "cache/key/1, cache/value/1: say in stages.export.io_names which is input_ids",
        ),
        (
            IO_NAMES | {"input_ids": "token"},
            RecipeError,
            "stages.export.io_names.input_ids: the graph has no input token\n  its inputs are tokens, seen, places, "
            "cache/key/0, cache/value/0, cache/key/1, cache/value/1",
        ),
        (
            IO_NAMES | {"ids": "tokens"},
            RecipeError,
            "stages.export.io_names: ids is no input or output of a decoder\n  map these names: input_ids, "
            "attention_mask, position_ids, position_ids_cos, position_ids_sin, past_key_{i}_in, past_value_{i}_in, "
            "logits, past_key_{i}_out, past_value_{i}_out",
        ),
    ],
)
def test_names_that_do_not_fit(tmp_path: Path, io_names: dict[str, str], error: type[Exception], message: str):
    theirs = renamed(export_hf(tmp_path / "theirs.onnx", tiny_model("llama")), ODD)
    with pytest.raises(error) as caught:
        adopt_named(tmp_path, theirs, io_names)
    assert str(caught.value).removeprefix("main_graph: ") == message


def edited(tmp_path: Path, edit: Any) -> str:
    """The refusal of a graph after an edit of its nodes."""
    theirs = export_hf(tmp_path / "theirs.onnx", tiny_model("llama"), opset=20, dynamic=False)
    model = onnx.load(theirs)
    edit(model.graph)
    onnx.save(model, theirs)
    with pytest.raises(GraphError) as caught:
        adopt_named(tmp_path, theirs, {})
    return str(caught.value)


def node_of(graph: onnx.GraphProto, name: str) -> onnx.NodeProto:
    return next(node for node in graph.node if node.name == name)


FORM = (
    "\n  export attention as torch writes it: linear layers, Reshape and Transpose to heads, a Concat with the cache, "
    "MatMul, mask, Softmax, MatMul"
)


def test_attention_of_another_form_is_named_with_the_form_it_needs(tmp_path: Path):
    def sigmoid(graph: onnx.GraphProto) -> None:
        node = node_of(graph, "/model/model/layers.1/self_attn/Softmax")
        node.op_type = "Sigmoid"
        del node.attribute[:]

    assert edited(tmp_path, sigmoid) == (
        "node /model/model/layers.1/self_attn/Softmax (Sigmoid): this attention has a form that cannot be adopted: "
        "expected only a scale, a mask and a Softmax between the scores and the probabilities" + FORM
    )


def test_heads_that_are_not_cut_in_order_are_refused(tmp_path: Path):
    def swap(graph: onnx.GraphProto) -> None:
        node = node_of(graph, "/model/model/layers.0/self_attn/Reshape")
        shape = onnx.numpy_helper.from_array(np.array([1, AR, 16, 4], np.int64), "swapped")
        graph.initializer.append(shape)
        node.input[1] = "swapped"
        turned = node_of(graph, "/model/model/layers.0/self_attn/Transpose")
        turned.attribute[0].ints[:] = [0, 3, 1, 2]

    message = edited(tmp_path, swap)
    assert (
        "this attention has a form that cannot be adopted: expected the 16 channels of a head as the last axis"
        in message
    )


def test_a_mask_that_is_not_causal_is_refused(tmp_path: Path):
    """A sliding window of 3 tokens."""
    model = tiny_model("mistral", sliding_window=3)
    theirs = export_hf(tmp_path / "theirs.onnx", model, dynamic=False)
    with pytest.raises(GraphError) as caught:
        adopt_named(tmp_path, theirs, {})
    assert caught.value.what == (
        "its mask is not the causal one: each token sees itself, the tokens before it and the cache"
    )
    assert caught.value.remedy == "other masks, such as sliding windows, are not supported"


def test_positions_that_are_interleaved_are_refused(tmp_path: Path):
    def interleave(graph: onnx.GraphProto) -> None:
        node = next(node for node in graph.node if node.name.startswith("/model/model/rotary_emb/Concat"))
        order = onnx.numpy_helper.from_array(np.array([0, 8, *range(1, 8), *range(9, 16)], np.int64), "order")
        graph.initializer.append(order)
        gather = onnx.helper.make_node("Gather", ["halves", "order"], [node.output[0]], axis=2)
        node.output[0] = "halves"
        graph.node.insert(list(graph.node).index(node) + 1, gather)

    message = edited(tmp_path, interleave)
    assert "does not rotate the halves of a head together" in message
    assert message.endswith("interleaved and partial rotary embeddings are not supported")


UNFUSED = "  export the model without ONNX Runtime's optimizations, as torch.onnx.export writes it"


@pytest.mark.parametrize(
    ("operator", "domain", "message"),
    [
        (
            "GroupQueryAttention",
            "com.microsoft",
            "com.microsoft::GroupQueryAttention is attention with its cache, fused by ONNX Runtime; these stages take "
            f"ONNX's own operators\n{UNFUSED}",
        ),
        (
            "SimplifiedLayerNormalization",
            "",
            "SimplifiedLayerNormalization is an RMS norm fused by ONNX Runtime; these stages take ONNX's own operators"
            f"\n{UNFUSED}",
        ),
        (
            "Bespoke",
            "ai.example",
            "ai.example::Bespoke is not an operator of ONNX\n  export the model with ONNX's own operators",
        ),
    ],
)
def test_operators_that_are_not_onnx_own_are_named_as_what_they_are(
    tmp_path: Path, operator: str, domain: str, message: str
):
    def change(graph: onnx.GraphProto) -> None:
        node = node_of(graph, "/model/model/layers.0/mlp/act_fn/Mul")
        node.op_type, node.domain = operator, domain

    name = f"{domain}::{operator}" if domain else operator
    assert edited(tmp_path, change) == f"node /model/model/layers.0/mlp/act_fn/Mul ({name}): {message}"


def test_a_quantized_graph_is_told_from_a_float_one(tmp_path: Path):
    def change(graph: onnx.GraphProto) -> None:
        node = node_of(graph, "/model/model/layers.0/mlp/act_fn/Mul")
        node.op_type = "QuantizeLinear"

    assert edited(tmp_path, change) == (
        "node /model/model/layers.0/mlp/act_fn/Mul (QuantizeLinear): the graph is quantized already, but encodings "
        "belong to a float32 graph\n  give the float32 graph, and its quantization as an encodings file"
    )


def test_lengths_of_a_fixed_export_are_its_own(tmp_path: Path):
    theirs = export_hf(tmp_path / "theirs.onnx", tiny_model("llama"), dynamic=False)
    model = files.load(adopt_named(tmp_path, theirs, {}))
    shapes = {value.name: list(value.shape) for value in model.graph.inputs}
    assert shapes["attention_mask"] == [1, 1, AR, AR + PAST]
    assert shapes["past_key_1_in"] == [2, 1, 16, PAST]
