"""4-bit block weights as 8-bit ones: the same real numbers."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import numpy_helper
from tiny_parameters import TOKENS, tiny_parameters
from tiny_parts import make_parts

from qairt.errors import GraphError
from qairt.graph import byte_weights
from qairt.graph.byte_weights import WEIGHTS, write_byte_weights
from qairt.quant.config import TechniqueConfig
from qairt.quant.quantize_model import quantize_model
from qairt.runtime.cpu import CpuPart
from qairt.runtime.parts import PartGraph


def parts(folder: Path, technique: str) -> list[PartGraph]:
    parameters = tiny_parameters(folder / "model", hidden_size=128, intermediate_size=192)
    encodings = quantize_model(parameters, TOKENS[:1], TechniqueConfig(technique=technique)).encodings
    return make_parts(folder, parameters, ars=[1], cl=16, num_splits=2, encodings=encodings)[1]


def alone(onnx: Path) -> Path:
    """A copy whose weights have no second name on the disk, which onnx refuses to read."""
    folder = onnx.parent / f"{onnx.stem}.alone"
    shutil.copytree(onnx.parent, folder, ignore=lambda folder, names: [name for name in names if name == "model"])
    return folder / onnx.name


def test_it_computes_the_same(tmp_path: Path):
    random = np.random.default_rng(0)
    for part in parts(tmp_path, "lpbq"):
        target = tmp_path / f"bytes_{part.signature.part}" / "graph.onnx"
        write_byte_weights(part.onnx, target)
        given = {
            spec.name: random.integers(0, 100 if spec.dtype == "int32" else 200, spec.shape).astype(spec.dtype)
            for spec in part.signature.inputs
        }
        before = CpuPart(part, threads=1).run(given)
        after = CpuPart(PartGraph(target, part.signature), threads=1).run(given)
        for name, values in before.items():
            # float32 products differ in the last bit; a hidden value at the next step moves logits by a few
            assert np.abs(values.astype(int) - after[name].astype(int)).max() <= (4 if name == "logits" else 1), name


def test_integers_are_the_product_of_both(tmp_path: Path):
    _, part = parts(tmp_path, "lpbq")
    target = tmp_path / "bytes" / "graph.onnx"
    write_byte_weights(part.onnx, target)
    before, after = onnx.load(alone(part.onnx)), onnx.load(alone(target))
    old = {tensor.name: numpy_helper.to_array(tensor) for tensor in before.graph.initializer}
    new = {tensor.name: numpy_helper.to_array(tensor) for tensor in after.graph.initializer}
    blocks = [node for node in before.graph.node if any(item.name == "block_size" for item in node.attribute)]
    assert len(blocks) > 10
    for node in blocks:
        weight = node.input[0]
        scale = np.repeat(old[f"{weight}.block_scale"].astype(int), 64, 0)
        assert new[weight].dtype == np.int8
        np.testing.assert_array_equal(new[weight], old[weight].astype(int) * scale)
        assert f"{weight}.block_scale" not in new
    assert not any(item.name == "block_size" for node in after.graph.node for item in node.attribute)
    assert {tensor.name for tensor in after.graph.initializer} <= {
        name for node in after.graph.node for name in node.input
    }


def test_a_graph_without_block_weights_is_left_as_it_is(tmp_path: Path):
    _, part = parts(tmp_path, "minmax")
    target = tmp_path / "bytes" / "graph.onnx"
    write_byte_weights(part.onnx, target)
    assert (target.parent / WEIGHTS).stat().st_size == 0
    before, after = (onnx.load(path, load_external_data=False) for path in (part.onnx, target))
    assert [node.SerializeToString() for node in before.graph.node] == [
        node.SerializeToString() for node in after.graph.node
    ]


def test_another_pattern_is_an_error_that_leaves_no_half_file(tmp_path: Path):
    _, part = parts(tmp_path, "lpbq")
    model = onnx.load(part.onnx, load_external_data=False)
    for node in model.graph.node:
        for item in node.attribute:
            if item.name == "block_size":
                node.input[1] = "a.scale.that.nothing.makes"
    strange = part.onnx.with_name("strange.onnx")
    strange.write_bytes(model.SerializeToString())
    with pytest.raises(GraphError, match="it is a block weight, but not 4-bit with integer block scales"):
        write_byte_weights(strange, tmp_path / "bytes" / "graph.onnx")
    assert list((tmp_path / "bytes").iterdir()) == []
    assert byte_weights.WEIGHTS.endswith(".bin")
