"""A context binary multiplies by the very integers that a technique chose: the identity through its graph gives them.

How a binary lays weights out is the compiler's secret, so they are read by what they do.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx_ir as ir
import pytest
import torch

from qairt.graph import files
from qairt.graph.qdq.quantize import quantize_graph
from qairt.graph.qdq.signature import signature_of
from qairt.quant.encodings import BlockScales, Encoding, Encodings, per_tensor, range_encoding, symmetric_channels
from qairt.quant.measure.gram import Gram
from qairt.quant.techniques import technique
from qairt.quant.threads import one_thread_each
from qairt.recipe.files import shipped_recipes
from qairt.stages.technique_file import load_technique

pytest.importorskip("onnxruntime_qnn")
pytestmark = pytest.mark.compiler

INPUTS, OUTPUTS, BLOCK = 96, 64, 32
NAME = "ar96-cl128_1_of_1"
ONE = 1 << 15
"""1.0 on the grid of the inputs."""


def one_linear(weight: np.ndarray) -> ir.Model:
    shapes = {"x": (1, INPUTS, INPUTS), "y": (1, INPUTS, OUTPUTS), "w": weight.shape}
    x, y, w = (
        ir.Value(name=name, type=ir.TensorType(ir.DataType.FLOAT), shape=ir.Shape(shape))
        for name, shape in shapes.items()
    )
    w.const_value = ir.tensor(weight, name="w")
    node = ir.Node("", "MatMul", [x, w], outputs=[y], name="linear")
    graph = ir.Graph([x], [y], nodes=[node], initializers=[w], opset_imports={"": 23}, name=NAME)
    return ir.Model(graph, ir_version=11)


def any_grid() -> tuple[np.ndarray, Encoding]:
    """A weight, and a grid that uses every block scale there is."""
    random = np.random.default_rng(0)
    weight = random.standard_normal((INPUTS, OUTPUTS)).astype(np.float32)
    blocks = BlockScales(BLOCK, random.integers(1, 17, (INPUTS // BLOCK, OUTPUTS)).astype(np.uint8))
    return weight, symmetric_channels(random.uniform(0.02, 0.04, OUTPUTS).astype(np.float32), 4, axis=1, blocks=blocks)


def changed_by_gptq() -> tuple[np.ndarray, Encoding]:
    """A weight as `lpbq_gptq` leaves it, on its grid."""
    stored = torch.from_numpy(any_grid()[0])
    inputs = [torch.from_numpy(np.random.default_rng(1).standard_normal((200, INPUTS)).astype(np.float32))]
    with one_thread_each(1) as pool:
        gptq = technique(load_technique(shipped_recipes() / "quantization" / "lpbq_gptq.yaml", {"block_size": BLOCK}))
        chosen = gptq.choose("w", stored, energy=None, gram=Gram(inputs, inputs, pool), pool=pool)
    assert chosen.values is not None
    weight = chosen.values.numpy()
    assert (weight == chosen.encoding.nearest(weight)).all()
    assert (weight != chosen.encoding.nearest(stored.numpy())).any()
    return weight, chosen.encoding


@pytest.mark.parametrize("made", [any_grid, changed_by_gptq])
def test_the_identity_through_a_binary_gives_the_integers_that_were_chosen(
    made: Callable[[], tuple[np.ndarray, Encoding]], tmp_path: Path
) -> None:
    import qnn_calls

    from qairt.runtime.emulator import EmulatedPart
    from qairt.runtime.parts import PartGraph
    from qairt.toolchain.soc import SOCS

    weight, chosen = made()
    assert chosen.blocks is not None
    largest = float(np.abs(chosen.nearest(weight)).max())
    y = range_encoding(-largest, largest, 16)
    encodings = Encodings({"x": per_tensor(1 / ONE, 0, 16, symmetric=False), "y": y}, {"w": chosen})
    model = quantize_graph(one_linear(weight), encodings, tmp_path / "quantized.bin")
    files.save(model, tmp_path / "quantized.onnx")

    linked = qnn_calls.link(
        [(tmp_path / "quantized.onnx", "ar96_cl128_1_of_1")], tmp_path, binary_name="a.bin", soc=SOCS["SM8650"]
    )
    [wrapper] = linked.wrappers.values()
    part = EmulatedPart(PartGraph(wrapper, signature_of(model, encodings)), soc=SOCS["SM8650"])
    try:
        found = part.run({"x": np.eye(INPUTS, dtype=np.uint16)[None] * np.uint16(ONE)})["y"]
    finally:
        part.close()

    in_steps = y.dequantize(found.astype(np.int64))[0] / chosen.scale
    block_scale = np.repeat(chosen.blocks.int_scale.astype(np.int64), BLOCK, 0)
    np.testing.assert_array_equal(np.rint(in_steps), (chosen.quantize(weight) - 8) * block_scale)
    assert np.abs(in_steps - np.rint(in_steps)).max() < 0.1, "the channels' scales are not those chosen"
