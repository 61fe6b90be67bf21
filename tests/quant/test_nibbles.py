"""Packed 4-bit integers, with ONNX's reader as the oracle."""

from __future__ import annotations

import numpy as np
import pytest
from onnx import TensorProto, numpy_helper

from qairt.quant.nibbles import packed, unpack_signed, unpacked


@pytest.mark.parametrize("count", [0, 1, 2, 7, 16, 2**18 + 3])
def test_signed_integers_are_read_as_onnx_reads_them(count):
    integers = np.random.default_rng(0).integers(-8, 8, count).astype(np.int8)
    stored = packed(integers)
    tensor = TensorProto(data_type=TensorProto.INT4, dims=[count], raw_data=stored.tobytes())
    np.testing.assert_array_equal(numpy_helper.to_array(tensor).astype(np.int8), integers)
    values = np.full(count, np.nan, np.float32)
    unpack_signed(stored, values)
    np.testing.assert_array_equal(values, integers)
    np.testing.assert_array_equal(unpacked(stored, (count,)), integers & 15)
