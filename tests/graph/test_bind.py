"""Named dimensions get their numbers, and every tensor its shape."""

from __future__ import annotations

from pathlib import Path

import onnx
import onnx_ir as ir
import pytest
from tiny_graphs import bound, export_tiny

from qairt.errors import GraphError
from qairt.graph import files
from qairt.graph.bind import bind, is_symbolic


@pytest.mark.parametrize("family", ["llama", "qwen2", "qwen3"])
@pytest.mark.parametrize(("ar", "cl"), [(1, 32), (8, 32), (16, 20)])
def test_shapes_are_those_onnx_infers(tmp_path: Path, family: str, ar: int, cl: int):
    """Ours come from the rules in `shapes`, without the weights; ONNX has its own."""
    _, _, symbolic = export_tiny(tmp_path, family)
    path = bound(symbolic, ar, cl)
    model = onnx.load(path)
    made = {name for node in model.graph.node for name in node.output}
    ours = {}
    for value in [*model.graph.value_info, *model.graph.output]:
        if value.name in made:
            ours[value.name] = [size.dim_value for size in value.type.tensor_type.shape.dim]
            value.type.tensor_type.ClearField("shape")
    assert set(ours) == made
    inferred = onnx.shape_inference.infer_shapes(model, strict_mode=True, data_prop=True)
    for value in [*inferred.graph.value_info, *inferred.graph.output]:
        if value.name in made:
            assert [size.dim_value for size in value.type.tensor_type.shape.dim] == ours[value.name], value.name


def test_inputs_and_outputs_have_the_sizes_a_runtime_expects(tmp_path: Path):
    _, _, symbolic = export_tiny(tmp_path, "llama")
    model = bind(files.load(symbolic), ar=8, cl=32)
    assert model.graph.name == "ar8-cl32"
    shapes = {value.name: tuple(value.shape) for value in [*model.graph.inputs, *model.graph.outputs]}
    assert shapes["input_ids"] == (1, 8)
    assert shapes["attention_mask"] == (1, 1, 8, 32)
    assert shapes["position_ids_cos"] == shapes["position_ids_sin"] == (1, 1, 8, 8)
    assert shapes["past_key_0_in"] == (2, 1, 16, 24)
    assert shapes["past_value_0_in"] == (2, 1, 24, 16)
    assert shapes["past_key_0_out"] == (2, 1, 16, 8)
    assert shapes["past_value_0_out"] == (2, 1, 8, 16)
    assert shapes["logits"] == (1, 8, 128)


def test_fixed_sizes_are_what_makes_a_graph_foreign(tmp_path: Path):
    _, _, symbolic = export_tiny(tmp_path, "llama")
    assert is_symbolic(files.load(symbolic))
    assert not is_symbolic(files.load(bound(symbolic, 4)))


def test_a_dimension_of_another_name_is_refused(tmp_path: Path):
    _, _, symbolic = export_tiny(tmp_path, "llama")
    model = files.load(symbolic)
    model.graph.inputs[0].shape = ir.Shape(["batch", "ar"])
    with pytest.raises(GraphError) as caught:
        bind(model, ar=8, cl=32)
    assert (
        str(caught.value) == "input input_ids: it has an unknown dimension 'batch'\n  name its dimensions ar, cl, past"
    )


def test_an_input_without_a_shape_is_refused(tmp_path: Path):
    _, _, symbolic = export_tiny(tmp_path, "llama")
    model = files.load(symbolic)
    model.graph.inputs[1].shape = None
    with pytest.raises(GraphError, match="input attention_mask: its shape is missing\n"):
        bind(model, ar=8, cl=32)
