"""Inputs and outputs of ONNX files."""

from __future__ import annotations

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from qairt.errors import GraphError
from qairt.graph.session import open_session
from qairt.graph.tensors import TensorSpec
from qairt.toolchain.onnx_contents import onnx_contents


@pytest.fixture
def doubling(tmp_path):
    """uint16 in, uint8 out: y = 2 x, with scales 0.5 and 1."""
    constants = {"s": np.float32(0.5), "z": np.uint16(100), "t": np.float32(1), "o": np.uint8(128)}
    graph = helper.make_graph(
        [
            helper.make_node("DequantizeLinear", ["x", "s", "z"], ["x.dq"]),
            helper.make_node("Add", ["x.dq", "x.dq"], ["y.float"]),
            helper.make_node("QuantizeLinear", ["y.float", "t", "o"], ["y"]),
        ],
        "ar1-cl2_1_of_1",
        [helper.make_tensor_value_info("x", TensorProto.UINT16, [1, 3])],
        [helper.make_tensor_value_info("y", TensorProto.UINT8, [1, 3])],
        [numpy_helper.from_array(np.asarray(value), name) for name, value in constants.items()],
    )
    path = tmp_path / "doubling.onnx"
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 21)], ir_version=10), path)
    return path


def test_contents_have_shapes_types_and_encodings(doubling):
    graph = onnx_contents(doubling)
    assert graph.name == "ar1-cl2_1_of_1"
    assert graph.inputs == (TensorSpec(name="x", dtype="uint16", shape=(1, 3), scale=0.5, offset=-100),)
    assert graph.outputs == (TensorSpec(name="y", dtype="uint8", shape=(1, 3), scale=1.0, offset=-128),)


def test_a_session_takes_and_returns_the_stored_integers(doubling):
    [y] = open_session(doubling).run(["y"], {"x": np.asarray([[100, 101, 90]], np.uint16)})
    assert y.dtype == np.uint8
    assert y.tolist() == [[128, 129, 118]]


def test_a_file_that_is_not_onnx_is_an_error(tmp_path):
    (tmp_path / "a.onnx").write_bytes(b"\x00nonsense")
    with pytest.raises(GraphError, match=r"a\.onnx: this is not an ONNX graph"):
        onnx_contents(tmp_path / "a.onnx")
