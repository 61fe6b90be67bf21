from __future__ import annotations

from pathlib import Path

import onnx_ir as ir
import pytest
from tiny_graphs import export_tiny

from qairt.graph import files
from qairt.model.names import is_key_or_value
from qairt.quant.structure import Structure

FAMILIES = [("llama", {}), ("llama", {"mlp_bias": True, "attention_bias": True}), ("qwen2", {}), ("qwen3", {})]
SHORT = {"num_hidden_layers": 2, "layer_types": ["conv", "full_attention"], "block_auto_adjust_ff_dim": False}
FAMILIES.append(("lfm2", SHORT))


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
        if node.op_type not in ("Slice", "Concat", "Pad", "Reshape", "Transpose"):
            continue
        out = str(node.outputs[0].name)
        for source in node.inputs[: None if node.op_type == "Concat" else 1]:
            assert source is not None
            into_cache = is_key_or_value(out)
            assert (structure.tied(str(source.name)) == structure.tied(out)) is not into_cache, out


def test_a_short_convolution_has_one_grid_for_past_and_new_tokens(tmp_path: Path) -> None:
    """A text has no past when it is measured: what follows from past tokens would seem to be 0."""
    _, config, _ = export_tiny(tmp_path, "lfm2", **SHORT)
    structure = Structure(config)

    def is_tied(one: str, other: str) -> bool:
        return structure.tied(one) == structure.tied(other)

    t = "layers.0.conv."
    assert is_tied("past_conv_0_in", "past_conv_0_out")
    assert is_tied("past_conv_0_in", t + "new"), "16 bits, as other activations"
    assert not any(name.startswith("past_conv_") for name in structure.cached)
    for name in ("tap_0", "tap_1", "tap_2", "taps_1", "taps_2"):
        assert is_tied(f"{t}past.{name}", f"{t}new.{name}"), name
    assert is_tied(t + "past_0.placed", t + "new.taps_2")
    assert not is_tied(t + "convolved_1", t + "new.taps_2")
    assert not is_tied(t + "new.tap_0", t + "new.tap_1")


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
