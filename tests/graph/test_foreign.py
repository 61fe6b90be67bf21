"""A graph exported with fixed sizes: adopted, and bound to other lengths where that can be proven."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import onnx_ir as ir
import pytest
from tiny_graphs import bound, export_tiny, feeds, run

from qairt.errors import GraphError
from qairt.graph import files, foreign
from qairt.graph.foreign_bind import bind_foreign
from qairt.graph.foreign_dims import AmbiguousError, Dim, Lengths, reshape
from qairt.graph.foreign_dims import bound as slice_bound


def somebody_elses(tmp_path: Path, ar: int = 6, cl: int = 40, **changes) -> tuple:
    """Our graph as another tool might write it: fixed sizes in Reshapes, other tensor names, weights inside."""
    _, config, onnx = export_tiny(tmp_path, "llama", **changes)
    model = files.load(bound(onnx, ar, cl))
    for node in model.graph:
        if node.op_type == "Reshape":
            shape = [int(size) for size in node.outputs[0].shape.numpy()]
            name = f"{node.outputs[0].name}_shape"
            tensor = ir.tensor(np.array(shape, np.int64), name=name)
            value = ir.Value(
                name=name, const_value=tensor, shape=ir.Shape([len(shape)]), type=ir.TensorType(tensor.dtype)
            )
            model.graph.initializers[name] = value
            node.replace_input_with(1, value)
        out = node.outputs[0]
        if out.name not in {value.name for value in model.graph.outputs}:
            out.name = f"/model/{out.name}"
    path = tmp_path / "foreign" / "theirs.onnx"
    path.parent.mkdir()
    files_weights = tmp_path / "weights.bin"
    (path.parent / "weights.bin").write_bytes(files_weights.read_bytes())
    files.save(model, path)
    encodings = path.with_suffix(".encodings")
    names = sorted({value.name for node in model.graph for value in node.outputs})
    entry = {"bw": 16, "dtype": "INT", "enc_type": "PER_TENSOR", "is_sym": False, "offset": [-100], "scale": [0.5]}
    encodings.write_text(
        json.dumps(
            {"version": "1.0.0", "activation_encodings": [{"name": n} | entry for n in names], "param_encodings": []}
        )
    )
    return config, onnx, path, encodings


def adopted(tmp_path: Path, theirs: Path, encodings: Path) -> Path:
    folder = tmp_path / "adopted"
    folder.mkdir()
    onnx = folder / "model.onnx"
    foreign.adopt(theirs, encodings, onnx=onnx, weights=folder / "weights.bin", encodings=folder / "model.encodings")
    return onnx


@pytest.mark.parametrize(("ar", "cl"), [(1, 16), (4, 64), (6, 40)])
def test_other_lengths_compute_what_our_own_graph_computes(tmp_path: Path, ar: int, cl: int):
    config, ours, theirs, encodings = somebody_elses(tmp_path)
    onnx = adopted(tmp_path, theirs, encodings)
    path = onnx.with_name("bound.onnx")
    files.save(bind_foreign(files.load(onnx), ar=ar, cl=cl), path)
    tensors = feeds(config, list(range(ar)), cl=cl)
    wanted = run(bound(ours, ar, cl), tensors)
    for name, value in run(path, tensors).items():
        np.testing.assert_allclose(value, wanted[name], atol=1e-6)


def test_the_residual_stream_gets_our_names_and_its_encodings_follow(tmp_path: Path):
    _, _, theirs, encodings = somebody_elses(tmp_path)
    onnx = adopted(tmp_path, theirs, encodings)
    names = {value.name for node in files.load(onnx).graph for value in node.outputs}
    assert {"hidden_0", "hidden_1", "hidden_2"} <= names
    written = {
        entry["name"] for entry in json.loads(onnx.with_name("model.encodings").read_text())["activation_encodings"]
    }
    assert written == names


def test_sizes_are_measured_without_reading_weights(tmp_path: Path):
    _, _, theirs, _ = somebody_elses(tmp_path)
    embedding, layers, head = foreign.measure(theirs)
    per_layer = 4 * (64 * (64 + 32 + 32 + 64) + 3 * 64 * 96 + 2 * 64)
    assert (embedding, layers, head) == (4 * 128 * 64, (per_layer, per_layer), 4 * (128 * 64 + 64))


def test_an_ambiguous_number_names_its_node(tmp_path: Path):
    _, _, theirs, encodings = somebody_elses(tmp_path, ar=4)
    model = files.load(adopted(tmp_path, theirs, encodings))
    for node in model.graph:
        if node.name == "Reshape:layers.0.attn.q.heads":
            target = ir.tensor(np.array([2, 2, 2, 2, 16], np.int64), name="t")
            value = ir.Value(name="t", const_value=target, shape=ir.Shape([5]), type=ir.TensorType(target.dtype))
            model.graph.initializers["t"] = value
            node.replace_input_with(1, value)
    with pytest.raises(GraphError, match=r"which of \[2, 2\] holds ar = 4 cannot be told"):
        bind_foreign(model, ar=2, cl=16)


def test_an_unsupported_operation_is_named(tmp_path: Path):
    _, _, theirs, encodings = somebody_elses(tmp_path)
    model = files.load(adopted(tmp_path, theirs, encodings))
    next(node for node in model.graph if node.op_type == "Sigmoid").op_type = "Erf"
    with pytest.raises(GraphError, match=r"node Sigmoid:.* \(Erf\): the operation Erf is not supported"):
        bind_foreign(model, ar=2, cl=16)


def test_a_baked_mask_is_refused(tmp_path: Path):
    _, _, theirs, encodings = somebody_elses(tmp_path)
    model = files.load(adopted(tmp_path, theirs, encodings))
    add = next(node for node in model.graph if node.name == "Add:layers.0.attn.masked")
    tensor = ir.tensor(np.zeros((1, 1, 6, 40), np.float32), name="baked")
    value = ir.Value(name="baked", const_value=tensor, shape=ir.Shape([1, 1, 6, 40]), type=ir.TensorType(tensor.dtype))
    model.graph.initializers["baked"] = value
    add.replace_input_with(1, value)
    with pytest.raises(GraphError, match=r"node Add:layers\.0\.attn\.masked .*a constant was made for one length"):
        bind_foreign(model, ar=2, cl=16)


OLD = Lengths(ar=8, cl=32)
AR, CL, PAST = Dim(1, "ar"), Dim(1, "cl"), Dim(1, "past")


def test_reshape_groups_prove_what_a_number_means():
    assert reshape((Dim(1), AR, Dim(64)), [1, 8, 4, 16], OLD) == (Dim(1), AR, Dim(4), Dim(16))
    assert reshape((Dim(1), AR, Dim(64)), [1, 8, 8, 8], OLD) == (Dim(1), AR, Dim(8), Dim(8))
    assert reshape((AR, Dim(4), Dim(16)), [1, -1, 64], OLD) == (Dim(1), AR, Dim(64))
    assert reshape((Dim(1), AR, Dim(64)), [512], OLD) == (Dim(64, "ar"),)
    with pytest.raises(AmbiguousError, match=r"which of \[8, 8\] holds ar = 8 cannot be told"):
        reshape((Dim(2), Dim(4, "ar")), [8, 8], OLD)


def test_slice_bounds_mean_a_length_on_an_axis_that_is_one():
    assert slice_bound(CL, 24, OLD) == "past"
    assert slice_bound(CL, -8, OLD) == "ar"
    assert slice_bound(Dim(64), 8, OLD) is None
    assert slice_bound(AR, 2**31, OLD) is None
    with pytest.raises(AmbiguousError, match="it slices cl = 16 at 8"):
        slice_bound(CL, 8, Lengths(8, 16))
