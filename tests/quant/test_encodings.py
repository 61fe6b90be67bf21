from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest

from qairt.errors import QuantizationError
from qairt.quant.encodings import (
    SMALLEST_SCALE,
    BlockScales,
    Encoding,
    Encodings,
    per_tensor,
    range_encoding,
    symmetric_channels,
)


def lpbq(inputs: int = 128, outputs: int = 6, block: int = 32) -> Encoding:
    random = np.random.default_rng(0)
    integers = random.integers(1, 17, (inputs // block, outputs)).astype(np.uint8)
    return symmetric_channels(
        random.uniform(0.001, 0.1, outputs).astype(np.float32), 4, 1, blocks=BlockScales(block, integers)
    )


def test_a_range_holds_zero_exactly_and_both_ends_to_half_a_step() -> None:
    encoding = range_encoding(-1.3, 2.7, 16)
    assert (encoding.bitwidth, encoding.symmetric, len(encoding.scale)) == (16, False, 1)
    assert encoding.nearest(np.zeros(3, np.float32)).tolist() == [0.0, 0.0, 0.0]
    ends = np.array([-1.3, 2.7], np.float32)
    np.testing.assert_allclose(encoding.nearest(ends), ends, atol=float(encoding.scale[0]) / 2 + 1e-7)


@pytest.mark.parametrize(("low", "high", "expected"), [(0.5, 2.0, (0.0, 2.0)), (-3.0, -1.0, (-3.0, 0.0))])
def test_a_range_is_widened_to_zero(low: float, high: float, expected: tuple[float, float]) -> None:
    encoding = range_encoding(low, high, 16)
    np.testing.assert_allclose([encoding.minimum[0], encoding.maximum[0]], expected, rtol=1e-6)


def test_a_symmetric_range_has_its_zero_in_the_middle() -> None:
    encoding = range_encoding(-1.0, 2.54, 8, symmetric=True)
    assert encoding.offset.tolist() == [-128]
    assert encoding.scale[0] == np.float32(0.02)
    assert encoding.quantize(np.array([0.0, 2.54, -2.56, -9.0], np.float32)).tolist() == [128, 255, 0, 0]


def test_a_range_of_nothing_is_dead_but_usable() -> None:
    assert range_encoding(0.0, 0.0, 16).scale[0] == np.float32(SMALLEST_SCALE)
    assert range_encoding(0.0, 0.0, 8, symmetric=True).nearest(np.zeros(1, np.float32)).tolist() == [0.0]


def test_rounding_is_half_to_even_and_clips() -> None:
    encoding = per_tensor(1.0, -2, 8, symmetric=False)
    values = np.array([0.5, 1.5, 2.5, -0.5, -9.0, 999.0], np.float32)
    assert encoding.quantize(values).tolist() == [2, 4, 4, 2, 0, 255]
    assert encoding.nearest(values).tolist() == [0.0, 2.0, 2.0, 0.0, -2.0, 253.0]


def test_channels_have_their_own_scale() -> None:
    encoding = symmetric_channels(np.array([1.0, 0.5], np.float32), 8, axis=1)
    assert encoding.nearest(np.array([[1.3, 1.3], [-200.0, 0.7]], np.float32)).tolist() == [[1.0, 1.5], [-128.0, 0.5]]


def test_lpbq_is_integer_times_channel_scale() -> None:
    encoding = lpbq()
    assert encoding.blocks is not None
    weight = np.random.default_rng(1).normal(0, 0.5, (128, 6)).astype(np.float32)
    for block in range(4):
        for channel in range(6):
            scale = np.float32(encoding.blocks.int_scale[block, channel]) * encoding.scale[channel]
            values = weight[block * 32 : block * 32 + 32, channel]
            expected = np.clip(np.rint(values / scale), -8, 7) * scale
            found = encoding.nearest(weight)[block * 32 : block * 32 + 32, channel]
            assert found.tolist() == expected.astype(np.float32).tolist()


def test_biases_keep_32_bits() -> None:
    bias = np.random.default_rng(2).normal(0, 30, 64).astype(np.float32)
    encoding = range_encoding(float(bias.min()), float(bias.max()), 32, symmetric=True)
    np.testing.assert_allclose(encoding.nearest(bias), bias, rtol=1e-6, atol=1e-7)


def test_nearest_is_its_own_nearest() -> None:
    weight = np.random.default_rng(3).normal(0, 0.5, (128, 6)).astype(np.float32)
    once = lpbq().nearest(weight)
    assert np.array_equal(lpbq().nearest(once), once)


# Cutting


@pytest.mark.parametrize(("axis", "start", "stop"), [(1, 2, 5), (0, 32, 96)])
def test_a_cut_of_lpbq_is_the_cut_of_what_it_holds(axis: int, start: int, stop: int) -> None:
    weight = np.random.default_rng(4).normal(0, 0.5, (128, 6)).astype(np.float32)
    place = (slice(None), slice(start, stop)) if axis == 1 else (slice(start, stop),)
    found = lpbq().cut(axis, start, stop).nearest(weight[place])
    assert np.array_equal(found, lpbq().nearest(weight)[place])


def test_a_cut_of_channels() -> None:
    encoding = symmetric_channels(np.arange(1, 7, dtype=np.float32), 8, axis=1)
    assert encoding.cut(1, 2, 4).scale.tolist() == [3.0, 4.0]
    assert encoding.cut(0, 2, 4) is encoding
    whole = range_encoding(-1, 1, 16)
    assert whole.cut(1, 0, 2) is whole


@pytest.mark.parametrize(("axis", "cuts"), [(1, (0, 2, 5, 6)), (0, (0, 32, 96, 128))])
def test_joining_is_the_inverse_of_cutting(axis: int, cuts: tuple[int, ...]) -> None:
    parts = [lpbq().cut(axis, start, stop) for start, stop in pairwise(cuts)]
    assert Encoding.joined(parts, axis).same_grid(lpbq())


def test_channels_of_other_scales_do_not_lie_above_each_other() -> None:
    one, other = (symmetric_channels(np.full(3, scale, np.float32), 8, axis=1) for scale in (1, 2))
    assert Encoding.joined([one, other], 1).scale.tolist() == [1, 1, 1, 2, 2, 2]
    assert Encoding.joined([one, one], 0).same_grid(one)
    with pytest.raises(QuantizationError) as raised:
        Encoding.joined([one, other], 0)
    assert str(raised.value) == "tensors of different scales cannot be joined along axis 0"


def test_a_cut_through_a_block_is_refused() -> None:
    with pytest.raises(QuantizationError, match=r"^inputs 16:48 cut through blocks of 32$"):
        lpbq().cut(0, 16, 48)


# Together


def test_same_grid() -> None:
    assert lpbq().same_grid(lpbq())
    assert not lpbq().same_grid(lpbq().cut(1, 0, 3))
    assert not lpbq().same_grid(symmetric_channels(lpbq().scale, 4, 1))
    assert range_encoding(-1, 1, 16).same_grid(range_encoding(-1, 1, 16))
    assert not range_encoding(-1, 1, 16).same_grid(range_encoding(-1, 1, 8))


def test_an_encoding_of_another_shape_is_refused() -> None:
    with pytest.raises(QuantizationError) as error:
        lpbq().nearest(np.zeros((128, 5), np.float32))
    assert str(error.value) == "an encoding with 6 scales on axis 1 and blocks [4, 6] does not fit the shape [128, 5]"


def test_subset_keeps_the_order() -> None:
    one = range_encoding(-1, 1, 16)
    encodings = Encodings({"b": one, "a": one, "c": one}, {"w": lpbq(), "v": lpbq()})
    part = encodings.subset(["w", "a", "b", "unknown"])
    assert (list(part.activations), list(part.params)) == (["b", "a"], ["w"])
