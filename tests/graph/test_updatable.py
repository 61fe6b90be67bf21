"""Branches as weights compute what they compute as inputs, and encodings follow the weights."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest
from tiny_graphs import bound, export_adapted, export_tiny, feeds, run

from qairt.graph import files, split
from qairt.graph.mha2sha import to_single_heads
from qairt.graph.updatable import make_updatable
from qairt.model.names import is_branch_input
from qairt.quant.encodings import Encodings, per_tensor

HEADS = [
    f"lora_0_{letter}_proj_b.{kind}{head}"
    for letter, kind, n in (("q", "h", 4), ("k", "kv", 2), ("v", "kv", 2))
    for head in range(n)
]


def numbered(names: list[str], first: int) -> dict:
    """An encoding for each tensor that is no other's."""
    return {name: per_tensor(float(first + place), -7, 16, symmetric=False) for place, name in enumerate(names)}


@pytest.mark.parametrize("single_heads", [False, True])
@pytest.mark.parametrize(("family", "changes"), [("llama", {}), ("qwen2", {"num_key_value_heads": 1})])
def test_as_weights_they_compute_what_they_compute_as_inputs(tmp_path: Path, family, changes, single_heads):
    parameters, _, values, path = export_adapted(tmp_path, family, **changes)
    before, config = bound(path, 8), parameters.config
    model = files.load(before)
    if single_heads:
        model = to_single_heads(model, Encodings(), tmp_path, "heads.bin").model
    inputs = [str(value.name) for value in model.graph.inputs]
    updatable = make_updatable(model, tmp_path / "branches.bin")
    after = tmp_path / "after.onnx"
    files.save(model, after)
    assert [str(value.name) for value in model.graph.inputs] == [n for n in inputs if not is_branch_input(n)]
    written = onnx.load(str(after), load_external_data=False)
    onnx.checker.check_model(str(after))
    weights = updatable.values(values)
    shapes = {each.name: tuple(each.dims) for each in written.graph.initializer}
    assert {name: value.shape for name, value in weights.items()} == {name: shapes[name] for name in weights}
    assert not any(node.op_type == "Slice" and node.input[0].startswith("lora_") for node in written.graph.node)
    tensors = feeds(config, list(range(8)))
    zeros = {name: np.zeros_like(value) for name, value in values.items()}
    for branches, held in ((zeros, {}), (values, weights)):
        found = run(after, tensors, held)
        for name, wanted in run(before, tensors | branches).items():
            np.testing.assert_allclose(found[name], wanted, rtol=1e-4, atol=1e-5 * np.abs(wanted).max(), err_msg=name)


def test_each_head_has_its_columns_of_b(tmp_path: Path):
    _, _, values, path = export_adapted(tmp_path, "llama")
    heads = to_single_heads(files.load(bound(path, 8)), Encodings(), tmp_path, "heads.bin")
    updatable = make_updatable(heads.model, tmp_path / "branches.bin")
    first = [name for name in updatable.weights if name.startswith("lora_0_")]
    assert set(HEADS) < set(first)
    assert not {"lora_0_q_proj_b", "lora_0_k_proj_b", "lora_0_v_proj_b"} & set(first)
    assert {"lora_0_q_proj_a", "lora_0_o_proj_b", "lora_0_down_proj_b"} < set(first)
    found = updatable.values(values)
    np.testing.assert_array_equal(found["lora_0_q_proj_b.h2"], values["lora_0_q_proj_b"][:, 32:48])
    np.testing.assert_array_equal(found["lora_0_o_proj_a"], values["lora_0_o_proj_a"])


def test_encodings_of_a_concurrency_for_a_graph_of_single_heads(tmp_path: Path):
    _, _, _, path = export_adapted(tmp_path, "llama")
    model = files.load(bound(path, 8))
    names = sorted(split.tensor_names(model) - set(model.graph.initializers))
    shared, own = Encodings(numbered(names, 1)), Encodings(numbered(names, 10_001))
    weight = {"model.layers.0.mlp.up_proj.weight": per_tensor(0.5, -128, 8, symmetric=True)}
    heads = to_single_heads(model, Encodings(shared.activations, weight), tmp_path, "heads.bin")
    updatable = make_updatable(heads.model, tmp_path / "branches.bin")
    graph = heads.model.graph
    tensors = {str(value.name) for node in graph for value in node.outputs} | {str(v.name) for v in graph.inputs}

    same = updatable.encodings(heads.encodings, shared)
    assert same.activations == {name: heads.encodings.activations[name] for name in tensors}
    found = updatable.encodings(heads.encodings, own, shared=["logits"])
    assert set(found.activations) == tensors
    assert found.activations["layers.0.attn.probs.h3"] is own.activations["layers.0.attn.probs"]
    assert found.activations["layers.1.attn.q.lora_b.h1"] is own.activations["layers.1.attn.q.lora_b"]
    assert found.activations["logits"] is shared.activations["logits"]
    assert found.params == weight | {name: own.activations[name.partition(".")[0]] for name in updatable.weights}


def test_a_graph_without_branches_stays_as_it_is(tmp_path: Path):
    _, _, path = export_tiny(tmp_path, "llama")
    model = files.load(bound(path, 8))
    before = [value.name for value in model.graph.inputs], list(model.graph.initializers)
    assert make_updatable(model, tmp_path / "branches.bin").weights == {}
    assert ([value.name for value in model.graph.inputs], list(model.graph.initializers)) == before
