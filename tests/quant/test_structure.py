from __future__ import annotations

from pathlib import Path

import onnx_ir as ir
import pytest
from tiny_graphs import export_tiny

from qairt.graph import files
from qairt.quant.structure import Structure

FAMILIES = [("llama", {}), ("llama", {"mlp_bias": True, "attention_bias": True}), ("qwen2", {}), ("qwen3", {})]


@pytest.mark.parametrize(("family", "changes"), FAMILIES)
def test_it_has_the_tensors_of_the_graph(tmp_path: Path, family: str, changes: dict[str, bool]) -> None:
    _, config, onnx = export_tiny(tmp_path, family, **changes)
    graph = files.load(onnx).graph
    floats = [value.name for value in graph.inputs if value.dtype == ir.DataType.FLOAT]
    floats += [value.name for node in graph for value in node.outputs]
    structure = Structure(config)
    assert sorted(structure.tensors) == sorted(map(str, floats))
    weights = {linear.weight for linear in structure.linears} | set(structure.norms)
    weights |= {linear.bias for linear in structure.linears if linear.bias} | {"model.embed_tokens.weight"}
    floats = [name for name, value in graph.initializers.items() if value.dtype == ir.DataType.FLOAT]
    assert weights == set(floats)


@pytest.mark.parametrize(("family", "changes"), FAMILIES)
def test_data_movement_is_tied_except_into_the_cache(tmp_path: Path, family: str, changes: dict[str, bool]) -> None:
    _, config, onnx = export_tiny(tmp_path, family, **changes)
    structure = Structure(config)
    for node in files.load(onnx).graph:
        if node.op_type not in ("Slice", "Concat", "Reshape", "Transpose"):
            continue
        out = str(node.outputs[0].name)
        for source in node.inputs[: None if node.op_type == "Concat" else 1]:
            assert source is not None
            into_cache = out.startswith("past_")
            assert (structure.tied(str(source.name)) == structure.tied(out)) is not into_cache, out


def test_keys_and_values_of_a_layer_are_tied_and_no_others(tmp_path: Path) -> None:
    _, config, _ = export_tiny(tmp_path, "llama")
    structure = Structure(config)
    for layer in range(config.num_layers):
        for kind in ("key", "value"):
            names = [f"past_{kind}_{layer}_in", f"past_{kind}_{layer}_out", f"layers.{layer}.attn.{kind}s"]
            assert len({structure.tied(name) for name in names}) == 1
            assert set(names) <= structure.cached
    assert len(structure.cached) == 6 * config.num_layers
    assert len({structure.tied(name) for name in structure.cached}) == 2 * config.num_layers
    assert structure.masked["layers.1.attn.masked"] == "layers.1.attn.scores"
    assert structure.unit == {
        f"layers.{layer}.{name}" for layer in range(config.num_layers) for name in ("attn.probs", "mlp.sigmoid")
    }
