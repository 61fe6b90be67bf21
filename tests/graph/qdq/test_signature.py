"""What a quantized part takes and gives."""

from __future__ import annotations

import numpy as np
import onnx_ir as ir
import pytest

from qairt.errors import GraphError
from qairt.graph.qdq.signature import signature_of
from qairt.graph.tensors import GraphSignature, TensorSpec
from qairt.quant.encodings import Encoding, Encodings

GRIDS = {
    "hidden_1": Encoding(16, False, np.asarray([0.5], np.float32), np.asarray([-32000])),
    "past_key_0_in": Encoding(8, True, np.asarray([0.25], np.float32), np.asarray([-128])),
}


def part(name: str) -> ir.Model:
    def tensor(tensor_name: str, dtype: ir.DataType, *shape: int) -> ir.Value:
        return ir.Value(name=tensor_name, type=ir.TensorType(dtype), shape=ir.Shape(shape))

    inputs = [
        tensor("input_ids", ir.DataType.INT32, 1, 4),
        tensor("past_key_0_in", ir.DataType.UINT8, 2, 1, 16, 28),
    ]
    graph = ir.Graph(inputs, [tensor("hidden_1", ir.DataType.UINT16, 1, 4, 64)], nodes=[], name=name)
    return ir.Model(graph, ir_version=11)


def test_it_says_shapes_types_and_grids_in_order_and_survives_a_file(tmp_path):
    signature = signature_of(part("ar4-cl32_2_of_3"), Encodings(GRIDS), ar=4)
    assert (signature.ar, signature.cl, signature.part, signature.of) == (4, 32, 2, 3)
    assert signature.inputs == (
        TensorSpec(name="input_ids", dtype="int32", shape=(1, 4)),
        TensorSpec(name="past_key_0_in", dtype="uint8", shape=(2, 1, 16, 28), scale=0.25, offset=-128),
    )
    assert signature.outputs == (
        TensorSpec(name="hidden_1", dtype="uint16", shape=(1, 4, 64), scale=0.5, offset=-32000),
    )
    signature.write(tmp_path / "signature.json")
    assert GraphSignature.read(tmp_path / "signature.json") == signature


@pytest.mark.parametrize("name", ["ar1-cl32_2_of_3", "decoder"])
def test_a_name_that_says_something_else_is_an_error(name):
    with pytest.raises(GraphError, match=rf"^{name}: the graph's name should be ar4-cl…_…_of_…\n"):
        signature_of(part(name), Encodings(GRIDS), ar=4)
