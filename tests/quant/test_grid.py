"""Everything that rounds to a grid, bit for bit against ONNX Runtime's QuantizeLinear."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import onnx
import onnx_ir as ir
import onnxruntime as ort
import pytest
import torch
from numpy.typing import NDArray

from qairt.graph.qdq import weights as qdq_weights
from qairt.graph.tensors import TensorSpec
from qairt.model.rope import plain_frequencies
from qairt.quant.encodings import BlockScales, Encoding, per_tensor, range_encoding, symmetric_channels
from qairt.quant.grid import nearest
from qairt.quant.simulate import rounded
from qairt.quant.techniques.learned import OnGrid
from qairt.quant.techniques.lpbq_grid import nearest as nearest_of_4_bits
from qairt.quant.weight_grid import rounded_weight
from qairt.runtime.stored import to_real, to_stored

Array = NDArray[np.float32]
COSINES = np.cos(np.arange(4096, dtype=np.float32)[:, None] * plain_frequencies(128, 10_000.0))
FLOAT = np.finfo(np.float32)
TYPES = {(4, True): "INT4", (8, True): "INT8", (16, True): "INT16", (8, False): "UINT8", (16, False): "UINT16"}


def awkward(scale: float) -> Array:
    """Ties and their neighbours, zeros of both signs, subnormals, huge and infinite values."""
    ties = (np.arange(-70_000, 70_000).astype(np.float32) + np.float32(0.5)) * np.float32(scale)
    others = [0.0, -0.0, FLOAT.smallest_subnormal, -FLOAT.tiny, 1e20, -1e20, FLOAT.max, FLOAT.min, np.inf, -np.inf]
    near = [np.nextafter(ties, np.float32(end)) for end in (-np.inf, np.inf)]
    return np.concatenate([ties, *near, np.array(others, np.float32)])


def quantize_linear(values: Array, scale: Array, zero_point: int, dtype: str, axis: int = 1) -> NDArray[np.int64]:
    """ONNX Runtime's integers; 4-bit ones come back as int8."""
    stored = getattr(onnx.TensorProto, dtype)
    helper = onnx.helper
    shape = [] if scale.ndim == 0 else [len(scale)]
    nodes = [
        helper.make_node("QuantizeLinear", ["x", "scale", "zero"], ["q"], **({"axis": axis} if shape else {})),
        helper.make_node("Cast", ["q"], ["y"], to=onnx.TensorProto.INT32),
    ]
    points = np.full(shape, zero_point)
    graph = helper.make_graph(
        nodes,
        "oracle",
        [helper.make_tensor_value_info("x", onnx.TensorProto.FLOAT, values.shape)],
        [helper.make_tensor_value_info("y", onnx.TensorProto.INT32, values.shape)],
        [
            helper.make_tensor("scale", onnx.TensorProto.FLOAT, shape, scale.reshape(-1)),
            helper.make_tensor("zero", stored, shape, points.reshape(-1)),
        ],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 21)], ir_version=10)
    session = ort.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    return np.asarray(session.run(None, {"x": values})[0], np.int64)


def expected(values: Array, encoding: Encoding) -> NDArray[np.int64]:
    """On the unsigned grid."""
    symmetric = encoding.symmetric
    scale = encoding.scale if encoding.axis is not None else encoding.scale.reshape(())
    point = 0 if symmetric else -int(encoding.offset[0])
    integers = quantize_linear(values, scale, point, TYPES[encoding.bitwidth, symmetric], encoding.axis or 1)
    return integers + (1 << encoding.bitwidth - 1 if symmetric else 0)


GRIDS = {
    "16 bits, -1 to 1": range_encoding(-1.0, 1.0, 16),
    "16 bits, lopsided": range_encoding(-0.3, 1.1, 16),
    "16 bits, symmetric": range_encoding(-1.0, 1.0, 16, symmetric=True),
    "8 bits": range_encoding(-0.7, 1.0, 8),
    "8 bits, symmetric": range_encoding(-1.0, 1.0, 8, symmetric=True),
    "a scale of a power of two": per_tensor(2.0**-15, -32768, 16, symmetric=False),
    "a subnormal scale": per_tensor(3e-39, -32768, 16, symmetric=False),
    "a huge scale": per_tensor(1e30, -100, 8, symmetric=False),
}


def by_encoding(values: Array, encoding: Encoding) -> NDArray[np.int64]:
    return encoding.quantize(values)


def by_runtime(values: Array, encoding: Encoding) -> NDArray[np.int64]:
    dtype = TYPES[encoding.bitwidth, encoding.symmetric].lower()
    offset = 0 if encoding.symmetric else int(encoding.offset[0])
    spec = TensorSpec(name="x", dtype=dtype, shape=values.shape, scale=float(encoding.scale[0]), offset=offset)
    stored = to_stored(values, spec)
    assert stored.dtype == np.dtype(dtype)
    np.testing.assert_array_equal(to_real(stored, spec), encoding.nearest(values))
    return stored.astype(np.int64) - (int(encoding.offset[0]) if encoding.symmetric else 0)


def by_weight_file(values: Array, encoding: Encoding) -> NDArray[np.int64]:
    kept = np.isfinite(values)
    tensor = ir.tensor(np.where(kept, values, 0), name="w")
    weight = ir.Value(name="w", type=ir.TensorType(tensor.dtype), shape=tensor.shape, const_value=tensor)
    stored = np.concatenate(list(qdq_weights.rounded(weight, encoding))).astype(np.int64)
    unsigned = stored - (int(encoding.offset[0]) if encoding.symmetric else 0)
    return np.where(kept, unsigned, encoding.quantize(values))


def by_simulation(values: Array, encoding: Encoding) -> NDArray[np.int64]:
    return integers_of(rounded(torch.from_numpy(values), encoding), encoding, values)


def by_simulated_weight(values: Array, encoding: Encoding) -> NDArray[np.int64]:
    return integers_of(rounded_weight(torch.from_numpy(values), encoding), encoding, values)


def integers_of(found: torch.Tensor, encoding: Encoding, values: Array) -> NDArray[np.int64]:
    """The integers that float values stand for: each value must be exactly one of the grid."""
    integers = encoding.quantize(found.numpy())
    np.testing.assert_array_equal(encoding.dequantize(integers), found.numpy())
    assert found.shape == values.shape
    return integers


USERS = [by_encoding, by_runtime, by_weight_file, by_simulation, by_simulated_weight]


@pytest.mark.parametrize("user", USERS)
@pytest.mark.parametrize("grid", GRIDS)
def test_tensors_are_rounded_as_the_graph_rounds_them(
    grid: str, user: Callable[[Array, Encoding], NDArray[np.int64]]
) -> None:
    encoding = GRIDS[grid]
    for values in (COSINES, awkward(float(encoding.scale[0]))):
        np.testing.assert_array_equal(user(values, encoding), expected(values, encoding))


def test_a_division_in_float64_gives_other_integers() -> None:
    """So the comparison above can tell the rules apart."""
    encoding = GRIDS["16 bits, -1 to 1"]
    other = np.rint(COSINES / np.float64(encoding.scale[0])) - encoding.offset
    assert COSINES.size == 262_144
    assert 100 < (other != expected(COSINES, encoding)).sum() < 400


def channels(bitwidth: int) -> Encoding:
    scales = np.geomspace(1e-4, 1.0, COSINES.shape[1]).astype(np.float32)
    return symmetric_channels(scales, bitwidth, axis=1)


@pytest.mark.parametrize("bitwidth", [4, 8])
@pytest.mark.parametrize("user", [by_encoding, by_weight_file, by_simulated_weight])
def test_channels_are_rounded_as_the_graph_rounds_them(
    bitwidth: int, user: Callable[[Array, Encoding], NDArray[np.int64]]
) -> None:
    np.testing.assert_array_equal(user(COSINES, channels(bitwidth)), expected(COSINES, channels(bitwidth)))


def test_blocks_are_rounded_as_the_graph_rounds_them() -> None:
    encoding = channels(4)
    integers = np.random.default_rng(0).integers(1, 17, (len(COSINES) // 64, 64)).astype(np.uint8)
    blocks = symmetric_channels(encoding.scale, 4, axis=1, blocks=BlockScales(64, integers))
    scale = blocks.effective_scale(COSINES.shape)
    # All rows of a block share a channel's scale: each block is one QuantizeLinear with a scale per channel.
    wanted = np.concatenate(
        [quantize_linear(COSINES[row : row + 64], scale[row], 0, "INT4") + 8 for row in range(0, len(COSINES), 64)]
    )
    for user in (by_encoding, by_weight_file, by_simulated_weight):
        np.testing.assert_array_equal(user(COSINES, blocks), wanted)
    values, steps = torch.from_numpy(COSINES), torch.from_numpy(scale)
    searched, learned = nearest_of_4_bits(values, steps), OnGrid(values / steps, steps).values()
    for found in (searched, learned):
        np.testing.assert_array_equal(found.numpy(), blocks.dequantize(wanted))


def test_a_bias_of_32_bits_is_rounded_in_float64() -> None:
    encoding = range_encoding(-3.0, 3.0, 32, symmetric=True)
    values = np.random.default_rng(0).normal(0, 1, 1000).astype(np.float32)
    exact = np.rint(values.astype(np.float64) / np.float64(encoding.scale[0])).astype(np.int64)
    np.testing.assert_array_equal(encoding.quantize(values), exact + (1 << 31))
    np.testing.assert_array_equal(rounded_weight(torch.from_numpy(values), encoding).numpy(), encoding.nearest(values))


def test_a_number_and_a_tensor_are_the_same_scale() -> None:
    values, scale = torch.from_numpy(COSINES), torch.tensor(1 / 32767, dtype=torch.float32)
    assert torch.equal(nearest(values, float(scale), -32768, 16), nearest(values, scale, -32768, 16))


def test_in_place_the_same_memory_holds_the_same_values() -> None:
    values, scale = torch.from_numpy(COSINES.copy()), float(np.float32(1 / 32767))
    expected = nearest(values, scale, -32768, 16)
    assert not torch.equal(values, expected)
    assert nearest(values, scale, -32768, 16, in_place=True) is values
    assert torch.equal(values, expected)
