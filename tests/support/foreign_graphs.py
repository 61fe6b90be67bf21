"""Graphs of a tiny model, rewritten as another tool might export them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import onnx_ir as ir
from tiny_graphs import bound, export_tiny

from qairt.graph import files
from qairt.graph.foreign.adopt import adopt
from qairt.model.config import DecoderConfig


def somebody_elses(tmp_path: Path, ar: int = 6, cl: int = 40, **changes: Any) -> tuple[DecoderConfig, Path, Path, Path]:
    """Fixed sizes in Reshapes, other tensor names, weights in a folder of their own.

    Returns:
        The configuration, our symbolic graph, theirs, and their encodings.
    """
    _, config, onnx = export_tiny(tmp_path, "llama", **changes)
    model = files.load(bound(onnx, ar, cl))
    for made in model.graph:
        out = made.outputs[0]
        if made.op_type == "Reshape":
            shape = [int(size) for size in out.shape.numpy()]
            made.replace_input_with(1, constant(model, shape, f"{out.name}_shape"))
        if not out.is_graph_output():
            out.name = f"/model/{out.name}"
    path = tmp_path / "foreign" / "theirs.onnx"
    path.parent.mkdir()
    (path.parent / "weights.bin").write_bytes((tmp_path / "weights.bin").read_bytes())
    files.save(model, path)
    encodings = path.with_suffix(".encodings")
    names = sorted({value.name for made in model.graph for value in made.outputs})
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
    adopt(theirs, encodings, onnx=onnx, weights=folder / "weights.bin", encodings=folder / "model.encodings")
    return onnx


def constant(model: ir.Model, numbers: Any, name: str) -> ir.Value:
    """A new initializer: int64 for integers, float32 for the rest."""
    values = np.asarray(numbers)
    tensor = ir.tensor(values.astype(np.float32 if values.dtype.kind == "f" else np.int64), name=name)
    value = ir.Value(name=name, const_value=tensor, shape=ir.Shape(values.shape), type=ir.TensorType(tensor.dtype))
    model.graph.initializers[name] = value
    return value


def node(model: ir.Model, before: ir.Node, op: str, inputs: list[Any], out: str, **attributes: Any) -> ir.Value:
    """A new node, put in front of `before`; its output, float32."""
    made = ir.node(op, inputs, attributes=attributes, name=f"{op}:{out}")
    made.outputs[0].name, made.outputs[0].dtype = out, ir.DataType.FLOAT
    model.graph.insert_before(before, made)
    return made.outputs[0]


def first(model: ir.Model, op: str) -> ir.Node:
    return next(found for found in model.graph if found.op_type == op)
