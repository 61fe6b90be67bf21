"""Separate heads compute the same, and encodings follow them exactly."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from tiny_graphs import bound, cut_parts, export_adapted, export_tiny, feeds, run, tiny_parts

from qairt.errors import GraphError
from qairt.graph import files, split
from qairt.graph.mha2sha import to_single_heads
from qairt.graph.part_vectors import largest_relative_error
from qairt.quant.encodings import BlockScales, Encoding, Encodings, per_tensor
from qairt.runtime.metrics import sqnr_db


def separated(onnx: Path, encodings: Encodings) -> tuple[Path, Encodings]:
    path = onnx.with_name(onnx.stem + "_sha.onnx")
    heads = to_single_heads(files.load(onnx), encodings, onnx.parent, f"{onnx.stem}.heads.bin")
    files.save(heads.model, path)
    return path, heads.encodings


@pytest.mark.parametrize("ar", [1, 8])
@pytest.mark.parametrize(
    ("family", "changes"),
    [
        ("llama", {}),
        ("llama", {"num_key_value_heads": 1}),
        ("llama", {"num_key_value_heads": 4, "attention_bias": True}),
        ("mistral", {}),
        ("qwen2", {}),
        ("qwen3", {}),
    ],
)
def test_the_whole_computes_the_same(tmp_path: Path, family: str, changes: dict, ar: int):
    _, config, onnx = export_tiny(tmp_path, family, **changes)
    before = bound(onnx, ar)
    after, _ = separated(before, Encodings())
    earlier = run(bound(onnx, 4), feeds(config, [5, 6, 7, 8]))
    tensors = feeds(config, list(range(ar)), [earlier])
    assert largest_relative_error(run(before, tensors), run(after, tensors)) <= 1e-5
    others = tensors | {"input_ids": tensors["input_ids"] + 1}
    assert largest_relative_error(run(before, others), run(after, others)) <= 1e-5
    assert largest_relative_error(run(before, others), run(after, tensors)) > 1e-3


def test_every_head_has_its_own_matmuls_and_io_is_unchanged(tmp_path: Path):
    _, config, onnx = export_tiny(tmp_path, "llama")
    part = cut_parts(bound(onnx, 8), tiny_parts(config, 3))[1]
    before = files.load(part)
    shapes = {value.name: value.shape for value in (*before.graph.inputs, *before.graph.outputs)}
    after = files.load(separated(part, Encodings())[0])
    assert {value.name: value.shape for value in (*after.graph.inputs, *after.graph.outputs)} == shapes
    names = [node.outputs[0].name for node in after.graph if node.op_type == "MatMul"]
    assert [name for name in names if ".scores" in name] == [f"layers.0.attn.scores.h{head}" for head in range(4)]
    assert "layers.0.attn.k.kv1" in names
    assert "layers.0.attn.k.kv2" not in names
    weight = after.graph.initializers["model.layers.0.self_attn.q_proj.weight.h3"]
    assert list(weight.shape) == [64, 16]
    assert "model.layers.0.self_attn.q_proj.weight" not in after.graph.initializers


def test_encodings_are_cut_exactly(tmp_path: Path):
    _, config, onnx = export_tiny(tmp_path, "llama")
    part = cut_parts(bound(onnx, 8), tiny_parts(config, 3))[1]
    model = files.load(part)
    rng = np.random.default_rng(0)
    activations = {
        name: per_tensor(float(place + 1), -7, 16, symmetric=False)
        for place, name in enumerate(sorted(split.tensor_names(model) - set(model.graph.initializers)))
    }
    channels = Encoding(8, True, rng.random(64).astype(np.float32), np.full(64, -128), axis=1)
    blocks = Encoding(
        4,
        True,
        rng.random(32).astype(np.float32),
        np.full(32, -8),
        axis=1,
        blocks=BlockScales(32, rng.integers(1, 17, (2, 32)).astype(np.uint8)),
    )
    q, k = "model.layers.0.self_attn.q_proj.weight", "model.layers.0.self_attn.k_proj.weight"
    path, found = separated(part, Encodings(activations, {q: channels, k: blocks}))
    np.testing.assert_array_equal(found.params[q + ".h2"].scale, channels.scale[32:48])
    np.testing.assert_array_equal(found.params[k + ".kv1"].scale, blocks.scale[16:])
    np.testing.assert_array_equal(found.params[k + ".kv1"].blocks.int_scale, blocks.blocks.int_scale[:, 16:])
    assert q not in found.params
    after = files.load(path)
    tensors = {value.name for node in after.graph for value in node.outputs} | {v.name for v in after.graph.inputs}
    assert tensors == set(found.activations)
    assert found.activations["layers.0.attn.probs.h3"] is activations["layers.0.attn.probs"]
    assert found.activations["past_key_0_out"] is activations["past_key_0_out"]


@pytest.mark.parametrize("hot_switch", [False, True])
@pytest.mark.parametrize(("family", "changes"), [("llama", {}), ("qwen2", {}), ("qwen3", {"num_key_value_heads": 1})])
def test_branches_share_a_and_cut_b(tmp_path: Path, family: str, changes: dict, hot_switch: bool):
    parameters, _, values, onnx = export_adapted(tmp_path, family, hot_switch=hot_switch, **changes)
    config = parameters.config
    before = bound(onnx, 8)
    model = files.load(before)
    activations = {
        name: per_tensor(float(place + 1), -7, 16, symmetric=False)
        for place, name in enumerate(sorted(split.tensor_names(model) - set(model.graph.initializers)))
    }
    after, encodings = separated(before, Encodings(activations))
    tensors = feeds(config, list(range(8))) | values
    wanted, found = run(before, tensors), run(after, tensors)
    for name, value in wanted.items():
        assert sqnr_db(value, found[name]) >= 100, name
    graph = files.load(after).graph
    assert [value.name for value in graph.inputs] == [value.name for value in model.graph.inputs]
    products = [node.outputs[0].name for node in graph if node.op_type == "MatMul"]
    for letter, heads in (("q", "h"), ("k", "kv"), ("v", "kv")):
        count = config.num_heads if heads == "h" else config.num_kv_heads
        assert products.count(f"layers.0.attn.{letter}.lora_a") == 1
        expected = [f"layers.0.attn.{letter}.lora_b.{heads}{head}" for head in range(count)]
        assert [name for name in products if name.startswith(f"layers.0.attn.{letter}.lora_b")] == expected
    tensors_after = {value.name for node in graph for value in node.outputs} | {value.name for value in graph.inputs}
    assert tensors_after == set(encodings.activations)
    assert encodings.activations["layers.0.attn.q.lora_a"] is activations["layers.0.attn.q.lora_a"]
    b = "lora_0_q_proj_b"
    if hot_switch:
        assert {f"{b}.h1", f"{b}.h2"} < set(graph.initializers)
        assert b not in graph.initializers
    else:
        assert encodings.activations[f"{b}.h1"] is activations[b]


def test_a_sum_of_two_activations_is_no_bias(tmp_path: Path):
    _, _, onnx = export_tiny(tmp_path, "qwen2")
    model = files.load(bound(onnx, 8))
    node = next(node for node in model.graph if node.name == "Add:layers.0.attn.q")
    node.replace_input_with(1, node.inputs[0])
    with pytest.raises(GraphError) as error:
        to_single_heads(model, Encodings(), tmp_path, "heads.bin")
    assert str(error.value) == (
        "node Reshape:layers.0.attn.q.heads (Reshape): this attention cannot be separated into heads: expected a MatMul"
        " with a weight before it, and at most a bias Add in between\n  remove mha_to_sha_conversion from the recipe,"
        " or export attention with the heads as the first axis"
    )


def test_an_embedding_alone_has_no_attention(tmp_path: Path):
    _, config, onnx = export_tiny(tmp_path, "llama")
    part = cut_parts(bound(onnx, 8), tiny_parts(config, 3))[0]
    with pytest.raises(
        GraphError, match="it has no attention: no MatMul reads a cache input concatenated with new keys"
    ):
        separated(part, Encodings())


def test_attention_of_another_form_is_named(tmp_path: Path):
    _, _, onnx = export_tiny(tmp_path, "llama")
    model = files.load(bound(onnx, 8))
    for node in model.graph:
        if node.name == "Transpose:layers.0.attn.context.tokens":
            import onnx_ir as ir

            node.attributes["perm"] = ir.AttrInt64s("perm", [2, 1, 0, 3])
    with pytest.raises(
        GraphError,
        match=r"^node Transpose:layers\.0\.attn\.context\.tokens \(Transpose\): this attention cannot be separated",
    ):
        to_single_heads(model, Encodings(), tmp_path, "heads.bin")
