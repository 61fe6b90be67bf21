"""Constants as floats, with ONNX Runtime's `DequantizeLinear` as the oracle: equal bit for bit."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import ModelProto, TensorProto, helper, numpy_helper

from qairt.errors import GraphError
from qairt.quant.nibbles import packed
from qairt.runtime.dequantized import Constant, StoredTensors, constant_of

RANDOM = np.random.default_rng(0)


def tensor(name: str, values: np.ndarray, kind: int | None = None) -> TensorProto:
    if kind == TensorProto.INT4:
        return TensorProto(name=name, data_type=kind, dims=values.shape, raw_data=packed(values).tobytes())
    return numpy_helper.from_array(values, name)


def scales(*shape: int) -> np.ndarray:
    return RANDOM.uniform(1e-4, 1e-2, shape).astype(np.float32)


def int4(*shape: int) -> TensorProto:
    return tensor("q", RANDOM.integers(-8, 8, shape).astype(np.int8), TensorProto.INT4)


CASES = {
    "4 bits in blocks, scales of integers": (
        [int4(64, 6), tensor("i", RANDOM.integers(1, 17, (2, 6)).astype(np.uint8)), tensor("c", scales(6))],
        [("s", ["i", "c"], {"axis": 1}), ("w", ["q", "s"], {"axis": 0, "block_size": 32})],
    ),
    "4 bits by channel, an odd number": (
        [int4(5, 3), tensor("s", scales(3)), tensor("z", np.zeros(3, np.int8), TensorProto.INT4)],
        [("w", ["q", "s", "z"], {"axis": 1})],
    ),
    "blocks along the last axis": (
        [int4(3, 64), tensor("s", scales(3, 4))],
        [("w", ["q", "s"], {"axis": -1, "block_size": 16})],
    ),
    "8 bits, zero points by row": (
        [
            tensor("q", RANDOM.integers(0, 256, (7, 9)).astype(np.uint8)),
            tensor("s", scales(7)),
            tensor("z", RANDOM.integers(0, 256, 7).astype(np.uint8)),
        ],
        [("w", ["q", "s", "z"], {"axis": 0})],
    ),
    "16 bits, one zero point": (
        [
            tensor("q", RANDOM.integers(0, 65536, 30).astype(np.uint16)),
            tensor("s", np.asarray(3.3e-5, np.float32)),
            tensor("z", np.asarray(40000, np.uint16)),
        ],
        [("w", ["q", "s", "z"], {})],
    ),
    "16 bits signed": (
        [tensor("q", RANDOM.integers(-32768, 32768, 30).astype(np.int16)), tensor("s", np.asarray(3.3e-5, np.float32))],
        [("w", ["q", "s"], {})],
    ),
}


def graph_of(case: str, folder: Path, *, external: bool) -> ModelProto:
    tensors, operations = CASES[case]
    nodes = [helper.make_node("DequantizeLinear", inputs, [out], **named) for out, inputs, named in operations]
    output = helper.make_tensor_value_info("w", TensorProto.FLOAT, None)
    graph = helper.make_graph(nodes, "constants", [], [output], tensors)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 21)], ir_version=10)
    settings = {"save_as_external_data": True, "location": "w.bin", "size_threshold": 0} if external else {}
    onnx.save(model, folder / "graph.onnx", **settings)
    return onnx.load(folder / "graph.onnx", load_external_data=False)


def constants_of(model: ModelProto, folder: Path) -> dict[str, Constant]:
    tensors = StoredTensors({each.name: each for each in model.graph.initializer}, folder)
    known: dict[str, Constant] = {}
    for node in model.graph.node:
        constant = constant_of(node, tensors, known)
        assert constant is not None
        known[node.output[0]] = constant
    return known


@pytest.mark.parametrize("external", [False, True])
@pytest.mark.parametrize("case", CASES)
def test_they_are_what_onnx_runtime_computes(case, external, tmp_path):
    model = graph_of(case, tmp_path, external=external)
    constant = constants_of(model, tmp_path)["w"]
    session = onnxruntime.InferenceSession(tmp_path / "graph.onnx", providers=["CPUExecutionProvider"])
    np.testing.assert_array_equal(constant.values(), session.run(["w"], {})[0])
    memory = np.full(constant.shape, np.nan, np.float32)
    assert constant.values(memory) is memory
    np.testing.assert_array_equal(memory, constant.values())


def test_sources_tell_whether_constants_are_the_same(tmp_path):
    folders = [tmp_path / name for name in ("one", "linked", "copied")]
    for folder in folders:
        folder.mkdir()
    case = "4 bits in blocks, scales of integers"
    models = [graph_of(case, folder, external=True) for folder in folders]
    (folders[1] / "w.bin").unlink()
    (folders[1] / "w.bin").hardlink_to(folders[0] / "w.bin")
    one, linked, copied = (
        constants_of(model, folder)["w"].source() for model, folder in zip(models, folders, strict=True)
    )
    assert one == linked
    assert one != copied
    inline = [constants_of(graph_of(case, folder, external=False), folder)["w"].source() for folder in folders]
    assert inline[0] == inline[1] == inline[2]


def test_a_file_that_is_too_short_is_refused(tmp_path):
    model = graph_of("8 bits, zero points by row", tmp_path, external=True)
    (tmp_path / "w.bin").write_bytes((tmp_path / "w.bin").read_bytes()[:40])
    with pytest.raises(GraphError, match=r"^w\.bin is shorter than the graph says$"):
        constants_of(model, tmp_path)["w"].values()


@pytest.mark.parametrize("location", ["../w.bin", "/etc/hostname", "a/w.bin"])
def test_files_elsewhere_are_left_to_onnx_runtime(location, tmp_path):
    model = graph_of("16 bits signed", tmp_path, external=True)
    for entry in model.graph.initializer[0].external_data:
        entry.value = location if entry.key == "location" else entry.value
    tensors = StoredTensors({each.name: each for each in model.graph.initializer}, tmp_path)
    assert constant_of(model.graph.node[0], tensors, {}) is None


def test_what_is_computed_is_no_constant(tmp_path):
    model = graph_of("8 bits, zero points by row", tmp_path, external=False)
    for missing in ("q", "s", "z"):
        tensors = StoredTensors({each.name: each for each in model.graph.initializer if each.name != missing}, tmp_path)
        assert constant_of(model.graph.node[0], tensors, {}) is None
