"""One part on ONNX Runtime: what is refused, and that folding weights changes nothing."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from qairt.errors import GraphError
from qairt.graph.tensors import GraphSignature, TensorSpec
from qairt.runtime.cpu import CpuPart, float_bytes
from qairt.runtime.emulation import stored_inputs
from qairt.runtime.parts import PartGraph
from qairt.runtime.shared_weights import SharedWeights

SIGNATURE = GraphSignature(
    name="ar2-cl8_2_of_2",
    ar=2,
    cl=8,
    part=2,
    of=2,
    inputs=(TensorSpec(name="hidden_0", dtype="uint16", shape=(1, 2, 16), scale=1e-4, offset=-32768),),
    outputs=(TensorSpec(name="logits", dtype="uint16", shape=(1, 2, 24), scale=1e-3, offset=-30000),),
)


@pytest.fixture
def part(tmp_path: Path) -> PartGraph:
    """logits = Q(DQ(hidden_0) @ DQ(weight)), the weight int8 per channel in a file of its own."""
    nodes = [
        helper.make_node("DequantizeLinear", ["hidden_0", "scale_in", "zero_in"], ["x"]),
        helper.make_node("DequantizeLinear", ["weight", "scales", "zeros"], ["w"], axis=1),
        helper.make_node("MatMul", ["x", "w"], ["y"]),
        helper.make_node("QuantizeLinear", ["y", "scale_out", "zero_out"], ["logits"]),
    ]
    random = np.random.default_rng(0)
    constants = {
        "scale_in": np.float32(1e-4),
        "zero_in": np.uint16(32768),
        "weight": random.integers(-127, 128, (16, 24)).astype(np.int8),
        "scales": np.linspace(1e-3, 2e-2, 24, dtype=np.float32),
        "zeros": np.zeros(24, np.int8),
        "scale_out": np.float32(1e-3),
        "zero_out": np.uint16(30000),
    }
    graph = helper.make_graph(
        nodes,
        "part",
        [helper.make_tensor_value_info("hidden_0", TensorProto.UINT16, [1, 2, 16])],
        [helper.make_tensor_value_info("logits", TensorProto.UINT16, [1, 2, 24])],
        [numpy_helper.from_array(np.asarray(value), name) for name, value in constants.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 21)], ir_version=10)
    path = tmp_path / "part.onnx"
    onnx.save(model, path, save_as_external_data=True, location="weights.bin", size_threshold=100)
    return PartGraph(path, SIGNATURE)


@pytest.mark.parametrize("fold_weights", [True, False, None])
def test_it_computes_the_graph_as_written(part, fold_weights):
    random = np.random.default_rng(1)
    hidden = random.integers(0, 65536, (1, 2, 16)).astype(np.uint16)
    constants = {
        tensor.name: numpy_helper.to_array(tensor, str(part.onnx.parent))
        for tensor in onnx.load(part.onnx, load_external_data=False).graph.initializer
    }
    weight = constants["weight"].astype(np.float64) * constants["scales"]
    real = (hidden.astype(np.float64) - 32768) * 1e-4 @ weight
    expected = np.clip(np.rint(real / 1e-3) + 30000, 0, 65535)
    runner = CpuPart(part, threads=1, fold_weights=fold_weights)
    logits = runner.run({"hidden_0": hidden})["logits"]
    runner.close()
    assert logits.dtype == np.uint16
    assert np.abs(logits.astype(np.int64) - expected).max() <= 1


def test_the_answer_does_not_depend_on_the_free_memory(quantized_parts):
    """Weights that are dequantized once, in every call, or shared: equal bit for bit."""
    shared = SharedWeights()
    for ar in (8, 1):
        for part in quantized_parts[ar]:
            given = stored_inputs(part.signature.inputs, {})
            folded, unfolded, first, again = (
                CpuPart(part, threads=1, **settings).run(given)
                for settings in (
                    {"fold_weights": True},
                    {"fold_weights": False},
                    {"weights": shared},
                    {"weights": shared},
                )
            )
            for name, expected in unfolded.items():
                for found in (folded, first, again):
                    np.testing.assert_array_equal(found[name], expected)


def test_weights_take_four_bytes_each_as_floats(part):
    assert float_bytes(part) == 4 * (16 * 24 + 2 * 24 + 4)


def test_a_damaged_graph_is_refused(part):
    part.onnx.write_bytes(part.onnx.read_bytes()[:100])
    with pytest.raises(GraphError) as caught:
        CpuPart(part)
    assert str(caught.value).startswith(f"{part.onnx}: the graph cannot be loaded: ")
    assert caught.value.remedy == "run the pipeline again; `qairt cache verify` finds damaged files"


@pytest.mark.parametrize("missing", ["part.onnx", "weights.bin"])
def test_a_missing_file_is_refused(part, missing):
    (part.onnx.parent / missing).unlink()
    with pytest.raises(GraphError, match=f"the graph cannot be loaded: .*{missing}"):
        CpuPart(part)


def test_a_signature_of_another_graph_is_refused(part):
    other = SIGNATURE.model_copy(update={"inputs": (SIGNATURE.inputs[0].model_copy(update={"shape": (1, 4, 16)}),)})
    with pytest.raises(GraphError) as caught:
        CpuPart(PartGraph(part.onnx, other))
    assert str(caught.value) == (
        f"{part.onnx}: the input hidden_0 is uint16 [1, 2, 16] in the graph, but uint16 [1, 4, 16] in the signature of "
        "ar2-cl8_2_of_2\n  graph and signature come from different runs; run the pipeline again"
    )
