"""Ways to write the same decoder: each is adopted and bound, and its heads are separated, or said to be already."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx_ir as ir
import pytest
import torch
from adopted_chain import assert_computes_the_model
from foreign_graphs import adopted, constant, node, somebody_elses
from hf_graphs import export_hf
from tiny_graphs import bound, cut_parts, feeds, run, tiny_parts
from tiny_models import tiny_model

from qairt.graph import files
from qairt.graph.attention import OtherAttention
from qairt.graph.foreign.bind import bind_foreign
from qairt.graph.mha2sha import to_single_heads
from qairt.graph.weights_file import read
from qairt.quant.encodings import Encodings


class PointwiseConv(torch.nn.Module):
    """A linear layer as AI Hub writes it."""

    def __init__(self, linear: torch.nn.Linear) -> None:
        super().__init__()
        self.conv = torch.nn.Conv2d(linear.in_features, linear.out_features, 1, bias=linear.bias is not None)
        self.conv.weight.data = linear.weight.data[:, :, None, None].clone()
        if linear.bias is not None:
            self.conv.bias.data = linear.bias.data.clone()

    def forward(self, x: Any) -> Any:
        return self.conv(x.transpose(1, 2).unsqueeze(2)).squeeze(2).transpose(1, 2)


def as_convs(model: torch.nn.Module) -> torch.nn.Module:
    for name, module in list(model.named_modules()):
        if isinstance(module, torch.nn.Linear):
            parent = model.get_submodule(name.rpartition(".")[0])
            setattr(parent, name.rpartition(".")[2], PointwiseConv(module))
    return model


@pytest.mark.parametrize("family", ["llama", "qwen2"])
def test_linear_layers_as_pointwise_convs(tmp_path: Path, family: str):
    model = tiny_model(family)
    theirs = export_hf(tmp_path / "theirs.onnx", as_convs(tiny_model(family)))
    assert_computes_the_model(tmp_path, model, theirs)
    graph = files.load(tmp_path / "adopted" / "model.onnx").graph
    operators = [found.op_type for found in graph]
    assert "Conv" not in operators
    moved = operators.count("Transpose")
    assert moved == 2 * 5  # query, key, key to its cache, value, context: none around the former Convs


def conv_linears(model: ir.Model) -> None:
    """Every MatMul of a weight as a 1x1 Conv of [1, channels, AR, 1]."""
    axis = constant(model, [3], "conv_axis")
    for matmul in [found for found in model.graph if found.op_type == "MatMul"]:
        weight = matmul.inputs[1]
        if weight is None or weight.const_value is None or matmul.outputs[0].is_graph_output():
            continue
        out = str(matmul.outputs[0].name)
        kernel = constant(model, read(weight.const_value).T[:, :, None, None].astype(np.float32), f"{weight.name}.conv")
        turned = node(model, matmul, "Transpose", [matmul.inputs[0]], f"{out}.channels", perm=[0, 2, 1])
        rows = node(model, matmul, "Unsqueeze", [turned, axis], f"{out}.rows")
        squeezed = node(
            model, matmul, "Squeeze", [node(model, matmul, "Conv", [rows, kernel], f"{out}.conv"), axis], f"{out}.flat"
        )
        result = node(model, matmul, "Transpose", [squeezed], f"{out}.tokens", perm=[0, 2, 1])
        matmul.outputs[0].replace_all_uses_with(result)
        model.graph.remove(matmul, safe=True)


def casts_in_the_stream(model: ir.Model) -> None:
    """A Cast from float32 to float32 after each Add, as half-precision code exports in float32."""
    for add in [found for found in model.graph if found.op_type == "Add"]:
        out = add.outputs[0]
        readers = list(out.uses())
        cast = node(model, readers[0][0], "Cast", [out], f"{out.name}.float", to=ir.DataType.FLOAT.value)
        cast.type = None
        for reader, place in readers:
            reader.replace_input_with(place, cast)


def gemms(model: ir.Model) -> None:
    """The head as Gemm of [out, in] over [AR, hidden]."""
    matmul = next(found for found in model.graph if found.name == "MatMul:logits")
    weight = matmul.inputs[1]
    kernel = constant(model, read(weight.const_value).T.astype(np.float32), "gemm.weight")
    flat = node(model, matmul, "Reshape", [matmul.inputs[0], constant(model, [-1, 64], "flat_shape")], "flat")
    scores = node(model, matmul, "Gemm", [flat, kernel], "flat_logits", transB=1)
    result = node(model, matmul, "Reshape", [scores, constant(model, [1, -1, 128], "logits_shape")], "scores")
    output = matmul.outputs[0]
    result.shape = output.shape
    model.graph.outputs[0] = result
    output.name, result.name = "old", "logits"
    model.graph.remove(matmul, safe=True)


@pytest.mark.parametrize("edit", [conv_linears, casts_in_the_stream, gemms])
def test_graphs_with_our_inputs(tmp_path: Path, edit: Any):
    config, ours, theirs, encodings = somebody_elses(tmp_path)
    model = files.load(theirs)
    edit(model)
    files.save(model, theirs)
    onnx = adopted(tmp_path, theirs, encodings)
    path = onnx.with_name("bound.onnx")
    files.save(bind_foreign(files.load(onnx), ar=3, cl=16), path)
    tensors = feeds(config, [5, 6, 7], cl=16)
    wanted = run(bound(ours, 3, 16), tensors)
    for name, values in run(path, tensors).items():
        np.testing.assert_allclose(values, wanted[name], atol=1e-5)
    part = cut_parts(path, tiny_parts(config, 2))[1]
    heads = to_single_heads(files.load(part), Encodings(), part.parent, "heads.bin")
    files.save(heads.model, part.with_name("sha.onnx"))
    found = run(part.with_name("sha.onnx"), tensors | run(cut_parts(path, tiny_parts(config, 2))[0], tensors))
    np.testing.assert_allclose(found["logits"], wanted["logits"], atol=1e-5)


def test_one_head_at_a_time_is_adopted_as_it_is(tmp_path: Path):
    config, ours, theirs, encodings = somebody_elses(tmp_path)
    heads = to_single_heads(files.load(theirs), Encodings(), theirs.parent, "heads.bin")
    whole = theirs.with_name("heads.onnx")
    files.save(heads.model, whole)
    onnx = adopted(tmp_path, whole, encodings)
    path = onnx.with_name("bound.onnx")
    files.save(bind_foreign(files.load(onnx), ar=3, cl=16), path)
    tensors = feeds(config, [5, 6, 7], cl=16)
    wanted = run(bound(ours, 3, 16), tensors)
    np.testing.assert_allclose(run(path, tensors)["logits"], wanted["logits"], atol=1e-5)
    with pytest.raises(OtherAttention, match="it has no attention: no MatMul reads a cache input concatenated with"):
        to_single_heads(files.load(path), Encodings(), tmp_path, "again.bin")
