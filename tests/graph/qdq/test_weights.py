"""The raw file of integer weights."""

from __future__ import annotations

import numpy as np
import onnx_ir as ir
import pytest

from qairt.errors import QuantizationError
from qairt.graph.qdq import weights as qdq_weights
from qairt.graph.qdq.weights import ALIGNMENT, WeightFile, float_values, rounded, storage_encoding
from qairt.quant.encodings import BlockScales, Encoding

WEIGHT = np.random.default_rng(1).standard_normal((24, 5)).astype(np.float32)


def value(array: np.ndarray) -> ir.Value:
    tensor = ir.tensor(array, name="w")
    return ir.Value(name="w", type=ir.TensorType(tensor.dtype), shape=tensor.shape, const_value=tensor)


def test_rounding_in_pieces_gives_what_rounding_at_once_gives(monkeypatch):
    blocks = BlockScales(4, np.random.default_rng(2).integers(1, 17, (6, 5)).astype(np.uint8))
    encodings = [
        Encoding(8, True, np.full(5, 0.02, np.float32), np.full(5, -128), 1),
        Encoding(8, False, np.linspace(0.01, 0.03, 24, dtype=np.float32), np.arange(-140, -116), 0),
        Encoding(4, True, np.full(5, 0.02, np.float32), np.full(5, -8), 1, blocks),
    ]
    for encoding in encodings:
        whole = np.concatenate(list(rounded(value(WEIGHT), encoding)))
        monkeypatch.setattr(qdq_weights, "CHUNK_ELEMENTS", 1)
        pieces = list(rounded(value(WEIGHT), encoding))
        monkeypatch.undo()
        assert len(pieces) == (3 if encoding.blocks else 12)
        np.testing.assert_array_equal(np.concatenate(pieces), whole)
        unsigned = whole.astype(np.int64) + (1 << encoding.bitwidth - 1 if encoding.symmetric else 0)
        np.testing.assert_array_equal(unsigned, encoding.quantize(WEIGHT))


def test_halves_are_rounded_to_even():
    encoding = Encoding(8, True, np.asarray([1], np.float32), np.asarray([-128]))
    [integers] = rounded(value(np.asarray([0.5, 1.5, 2.5, -0.5, -1.5], np.float32)), encoding)
    assert integers.tolist() == [0, 2, 2, 0, -2]


def test_4_bit_integers_are_packed_two_to_a_byte_first_in_the_low_half(tmp_path):
    file = WeightFile(tmp_path / "w.bin")
    rows = np.asarray([[1, -1, 2], [-8, 7, 0], [3, 4, 5]], np.int8)
    held = file.add("w", ir.DataType.INT4, (3, 3), iter([rows[:2], rows[2:]]))
    file.close()
    assert (tmp_path / "w.bin").read_bytes() == bytes([0xF1, 0x82, 0x07, 0x43, 0x05])
    assert held.const_value is not None
    assert held.const_value.numpy().astype(int).tolist() == rows.tolist()


def test_every_tensor_is_aligned_and_the_file_appears_when_it_is_whole(tmp_path):
    path = tmp_path / "w.bin"
    file = WeightFile(path)
    for name in "abc":
        file.add(name, ir.DataType.UINT8, (3,), iter([np.arange(3, dtype=np.uint8)]))
    assert not path.exists()
    file.close()
    assert path.stat().st_size == 2 * ALIGNMENT + 3
    assert [entry.name for entry in tmp_path.iterdir()] == ["w.bin"]


def test_bytes_that_are_not_those_of_the_shape_are_an_error(tmp_path):
    file = WeightFile(tmp_path / "w.bin")
    with pytest.raises(QuantizationError, match=r"^w: wrote 3 bytes, expected 4$"):
        file.add("w", ir.DataType.UINT8, (4,), iter([np.zeros(3, np.uint8)]))
    file.abandon()
    assert list(tmp_path.iterdir()) == []


def test_weights_are_mapped_from_their_file_not_read(tmp_path):
    (tmp_path / "w.bin").write_bytes(b"\0" * 64 + WEIGHT.tobytes())
    tensor = ir.ExternalTensor(
        "w.bin", 64, WEIGHT.nbytes, ir.DataType.FLOAT, shape=ir.Shape(WEIGHT.shape), name="w", base_dir=tmp_path
    )
    held = ir.Value(name="w", type=ir.TensorType(ir.DataType.FLOAT), shape=tensor.shape, const_value=tensor)
    found = float_values(held)
    assert isinstance(found, np.memmap)
    np.testing.assert_array_equal(found, WEIGHT)


def test_a_width_that_cannot_be_stored_is_an_error():
    encoding = Encoding(4, False, np.asarray([1], np.float32), np.asarray([-3]))
    with pytest.raises(QuantizationError) as caught:
        list(rounded(value(WEIGHT), encoding))
    assert str(caught.value) == (
        "w: a weight cannot be stored in 4 bits asymmetric\n  use 4 or 8 bits symmetric, or 8 or 16 bits asymmetric"
    )


def test_only_a_32_bit_encoding_is_held_in_another():
    narrow = Encoding(16, True, np.asarray([1], np.float32), np.asarray([-32768]))
    assert storage_encoding(value(WEIGHT), narrow) is narrow
    zeros = value(np.zeros(3, np.float32))
    wide = storage_encoding(zeros, Encoding(32, True, np.ones(1, np.float32), np.asarray([-(1 << 31)])))
    assert (wide.bitwidth, wide.symmetric, wide.offset.tolist()) == (16, True, [-32768])
    assert wide.scale[0] > 0
