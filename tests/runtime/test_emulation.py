"""When the emulator's outputs count as those of the graph."""

from __future__ import annotations

import numpy as np
import pytest

from qairt.errors import ToolchainError
from qairt.graph.tensors import TensorSpec
from qairt.runtime.emulation import REMEDY, Emulated, step_db, stored_inputs
from qairt.runtime.metrics import MAX_DB

KEY = TensorSpec(name="past_key_0_out", dtype="uint8", shape=(4,), scale=0.5, offset=-128)


def test_one_step_is_no_difference_and_two_are_one() -> None:
    expected = np.array([128, 138, 118, 148], np.uint8)
    assert step_db(expected, expected + np.array([1, 0, 1, 0], np.uint8), KEY) == MAX_DB
    assert step_db(expected, expected + np.array([2, 0, 0, 0], np.uint8), KEY) == pytest.approx(
        10 * np.log10((10**2 + 10**2 + 20**2) / 1)
    )
    floats = TensorSpec(name="hidden_1", dtype="float32", shape=(2,))
    assert step_db(np.array([3.0, 4.0]), np.array([3.0, 4.5]), floats) == pytest.approx(20.0)


@pytest.mark.parametrize(
    ("db", "unsteady", "faults"),
    [
        ({"hidden_1": 30.0, "past_key_0_out": 40.0, "logits": 30.0}, (), []),
        (
            {"hidden_1": 29.9, "past_key_0_out": 39.9},
            (),
            ["hidden_1 30 dB (at least 30)", "past_key_0_out 40 dB (at least 40)"],
        ),
        ({"hidden_2": 20.0, "past_key_0_out": 20.0, "past_key_1_out": 20.0}, (), []),
        ({"hidden_2": 7.7, "past_key_0_out": 50.0, "past_key_1_out": 50.0}, (), ["hidden_2 8 dB (at least 20)"]),
        ({"hidden_1": 60.0}, ("hidden_1",), ["hidden_1 differs from run to run"]),
    ],
)
def test_what_is_asked_of_each_output(db: dict[str, float], unsteady: tuple[str, ...], faults: list[str]) -> None:
    found = Emulated(db, unsteady)
    assert found.faults() == faults
    if not faults:
        found.require_right("ar8-cl32_2_of_3, whole")
        return
    with pytest.raises(ToolchainError) as caught:
        found.require_right("ar8-cl32_2_of_3, whole")
    assert str(caught.value) == (
        "ar8-cl32_2_of_3, whole: the compiled graph differs from the same graph in ONNX Runtime: "
        f"{', '.join(faults)}\n  {REMEDY}"
    )


def test_inputs_are_real_where_they_are_known_and_drawn_over_their_grid_else() -> None:
    lora = TensorSpec(name="lora_a", dtype="uint8", shape=(64, 64), scale=0.01, offset=-128)
    ids = TensorSpec(name="input_ids", dtype="int32", shape=(1, 2))
    known = {"past_key_0_out": np.array([0.0, 0.5, -0.5, 1e9], np.float32), "lora_a": np.zeros((1, 1), np.float32)}
    inputs = stored_inputs([KEY, lora, ids], known)
    assert inputs["past_key_0_out"].tolist() == [128, 129, 127, 255]
    assert abs(float(inputs["lora_a"].mean()) - 128) < 2
    assert 25 < float(inputs["lora_a"].std()) < 40
    assert inputs["input_ids"].tolist() == [[0, 0]]
    np.testing.assert_array_equal(inputs["lora_a"], stored_inputs([lora], {})["lora_a"])
