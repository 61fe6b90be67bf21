"""Values of branch inputs as integers, and what their grids cannot hold."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from qairt.model.lora.shape import LoraShape
from qairt.quant.lora_record import ActiveAdapter, InputGrid, LoraRecord

ONE = ActiveAdapter(name="one", digest="1", strength=1.0)
RECORD = LoraRecord(
    shape=LoraShape(ranks={"model.layers.0.self_attn.q_proj": 2}),
    grids={"lora_0_q_proj_b": InputGrid(scale=0.5, offset=-128, bitwidth=8)},
    calibrated={"alone": [ONE]},
)


def test_values_become_unsigned_integers_around_128() -> None:
    stored = RECORD.stored({"lora_0_q_proj_b": np.array([[0, 0.5, -64, 63.5, 99, -99, 0.26]], np.float32)})
    assert stored["lora_0_q_proj_b"].tolist() == [[128, 129, 0, 255, 255, 0, 129]]
    assert stored["lora_0_q_proj_b"].dtype == np.uint8


def test_a_value_counts_as_clipped_when_it_is_half_a_step_outside() -> None:
    inside = np.array([63.7, -64.2, 0, 1], np.float32)
    assert RECORD.clipped({"lora_0_q_proj_b": inside}) == {}
    assert RECORD.clipped({"lora_0_q_proj_b": np.array([64, 0, -65, 1], np.float32)}) == {"lora_0_q_proj_b": 0.5}


def test_which_adapters_ranges_were_measured_with() -> None:
    assert RECORD.is_calibrated([])
    assert RECORD.is_calibrated([ONE])
    assert not RECORD.is_calibrated([ONE.model_copy(update={"strength": 0.5})])
    assert not RECORD.is_calibrated([ONE.model_copy(update={"digest": "2"})])
    assert not RECORD.is_calibrated([ONE, ONE.model_copy(update={"name": "two"})])


def test_it_is_read_as_it_was_written(tmp_path: Path) -> None:
    RECORD.write(tmp_path / "lora.json")
    assert LoraRecord.read(tmp_path / "lora.json") == RECORD
