"""The first columns of a quantized linear are what they were in the whole."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from forms import Form

from qairt.graph import files
from qairt.graph.pieces import cut_piece, pieces
from qairt.graph.session import open_session
from qairt.runtime.emulation import stored_inputs


@pytest.mark.parametrize("bits", [4, 8])
def test_a_wide_head_keeps_its_first_columns(tmp_path: Path, bits: int) -> None:
    form = Form()
    form.weight_bits = bits
    hidden = form.input("hidden_3", 1, 5, 32)
    product = form.node("MatMul", hidden, form.weight(32, 96))
    form.output(form.node("Add", product, form.weight(96)), "logits")
    part = form.part(tmp_path)
    feeds = stored_inputs(part.signature.inputs, form.inputs)
    (whole,) = open_session(part.onnx).run(["logits"], feeds)
    (piece,) = pieces(part.onnx)
    narrow = tmp_path / "narrow.onnx"
    files.save(cut_piece(part.onnx, piece, widest=24), narrow)
    (some,) = open_session(narrow).run(["logits"], feeds)
    assert whole.shape == (1, 5, 96)
    np.testing.assert_array_equal(some, whole[..., :24])
    files.save(cut_piece(part.onnx, piece, widest=96), narrow)
    np.testing.assert_array_equal(open_session(narrow).run(["logits"], feeds)[0], whole)
