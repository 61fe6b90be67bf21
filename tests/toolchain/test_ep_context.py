"""`EPContext` graphs of our own: ONNX Runtime loads a binary's graph by one and runs it, in a process of its own."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest
import qnn_calls
from tiny_parameters import TOKENS, tiny_parameters
from tiny_parts import make_parts, measured_encodings

from qairt.errors import ToolchainError
from qairt.graph.tensors import TensorSpec
from qairt.runtime.emulator import EmulatedPart
from qairt.runtime.parts import PartGraph
from qairt.toolchain.base import GraphContents
from qairt.toolchain.ep_context import write_wrapper
from qairt.toolchain.soc import SOCS

GRAPH = GraphContents(
    "ar1-cl32_1_of_2",
    (TensorSpec(name="input_ids", dtype="int32", shape=(1, 1)),),
    (TensorSpec(name="hidden_0", dtype="uint16", shape=(1, 1, 64), scale=0.1, offset=-32768),),
)


def test_a_wrapper_is_one_node_that_names_the_graph_and_the_binary(tmp_path: Path):
    path = tmp_path / "a_ctx.onnx"
    write_wrapper(path, GRAPH, binary_name="a.bin", sdk_version="v2.43.0")
    model = onnx.load(path)
    onnx.checker.check_model(onnx.load(path), full_check=False)
    (node,) = model.graph.node
    attributes = {item.name: onnx.helper.get_attribute_value(item) for item in node.attribute}
    assert (node.op_type, node.domain) == ("EPContext", "com.microsoft")
    assert attributes == {
        "main_context": 1,
        "embed_mode": 0,
        "ep_cache_context": b"a.bin",
        "ep_sdk_version": b"v2.43.0",
        "source": b"QNNExecutionProvider",
        "partition_name": b"ar1-cl32_1_of_2",
    }
    (taken,), (given,) = model.graph.input, model.graph.output
    assert (taken.name, taken.type.tensor_type.elem_type) == ("input_ids", onnx.TensorProto.INT32)
    assert (given.name, given.type.tensor_type.elem_type) == ("hidden_0", onnx.TensorProto.UINT16)
    assert [dim.dim_value for dim in given.type.tensor_type.shape.dim] == [1, 1, 64]
    first = path.read_bytes()
    write_wrapper(path, GRAPH, binary_name="a.bin", sdk_version="v2.43.0")
    assert path.read_bytes() == first


def test_a_type_that_onnx_does_not_know_is_told(tmp_path: Path):
    odd = GraphContents("g", (TensorSpec(name="x", dtype="0x999", shape=(1,)),), ())
    with pytest.raises(ToolchainError, match=r"^a_ctx\.onnx: x has type 0x999, which ONNX does not know"):
        write_wrapper(tmp_path / "a_ctx.onnx", odd, binary_name="a.bin", sdk_version="")


@pytest.mark.compiler
def test_onnx_runtime_loads_a_graph_by_it_and_runs_it(tmp_path: Path):
    parameters = tiny_parameters(tmp_path / "model")
    encodings = measured_encodings(parameters, TOKENS[0])
    part = make_parts(tmp_path, parameters, ars=[1], cl=8, num_splits=2, encodings=encodings)[1][0]
    made = qnn_calls.link(
        [(part.onnx, part.signature.graph_name)], tmp_path / "out", binary_name="a.bin", soc=SOCS["SM8650"]
    )
    (graph,) = made.inspection.graphs
    ours = tmp_path / "out" / "ours_ctx.onnx"
    write_wrapper(ours, graph, binary_name="a.bin", sdk_version=made.inspection.sdk_version)
    feeds = {"input_ids": np.array([[7]], np.int32)}
    results = []
    for path in (part.onnx, ours):
        emulated = EmulatedPart(PartGraph(path, part.signature), soc=SOCS["SM8650"])
        try:
            results.append(emulated.run(feeds))
        finally:
            emulated.close()
    assert results[0]["hidden_0"].any()
    np.testing.assert_array_equal(results[0]["hidden_0"], results[1]["hidden_0"])
