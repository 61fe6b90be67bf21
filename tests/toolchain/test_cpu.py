"""Plain ONNX Runtime, and the verbs a toolchain has."""

from __future__ import annotations

import inspect

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from qairt.errors import GraphError
from qairt.graph.session import session
from qairt.graph.tensors import TensorSpec
from qairt.toolchain import cpu
from qairt.toolchain.base import Toolchain
from qairt.toolchain.qnn import qnn


@pytest.fixture
def doubling(tmp_path):
    """uint16 in, uint8 out: y = 2 x, on grids of 0.5 and 1."""
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


def test_inspection_gives_shapes_types_and_grids(doubling):
    found = cpu.inspect(doubling)
    assert qnn.inspect(doubling) == found
    assert found.kind == "onnx"
    [graph] = found.graphs
    assert graph.name == "ar1-cl2_1_of_1"
    assert graph.inputs == (TensorSpec(name="x", dtype="uint16", shape=(1, 3), scale=0.5, offset=-100),)
    assert graph.outputs == (TensorSpec(name="y", dtype="uint8", shape=(1, 3), scale=1.0, offset=-128),)


def test_a_session_takes_and_gives_the_stored_integers(doubling):
    [y] = session(doubling).run(["y"], {"x": np.asarray([[100, 101, 90]], np.uint16)})
    assert y.dtype == np.uint8
    assert y.tolist() == [[128, 129, 118]]


def test_a_file_that_is_no_graph_is_told(tmp_path):
    (tmp_path / "a.onnx").write_bytes(b"\x00nonsense")
    with pytest.raises(GraphError, match=r"a\.onnx: this is not an ONNX graph"):
        cpu.inspect(tmp_path / "a.onnx")


def test_modules_have_the_verbs_with_the_parameters_that_are_promised():
    for module, missing in ((qnn, set()), (cpu, {"convert", "quantize", "link", "session"})):
        verbs = {name for name in vars(Toolchain) if not name.startswith("_")}
        assert {verb for verb in verbs if not hasattr(module, verb)} == missing
        for verb in verbs - missing:
            promised = list(inspect.signature(getattr(Toolchain, verb)).parameters)[1:]
            assert [
                name for name in inspect.signature(getattr(module, verb)).parameters if name in promised
            ] == promised
