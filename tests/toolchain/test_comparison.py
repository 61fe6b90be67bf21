"""What is read out of a binary against what was asked for."""

from __future__ import annotations

from typing import Any

import pytest

from qairt.errors import ToolchainError
from qairt.graph.tensors import TensorSpec
from qairt.toolchain.base import GraphContents, Inspection
from qairt.toolchain.comparison import require_match
from qairt.toolchain.soc import SOCS

NAME = "ar1-cl8_1_of_2"
TENSOR = {"name": "hidden_0", "dtype": "uint16", "shape": (1, 1, 64), "scale": 0.001, "offset": -32768}


def graph(**changes: Any) -> GraphContents:
    ids = TensorSpec(name="input_ids", dtype="int32", shape=(1, 1))
    return GraphContents(NAME, (ids,), (TensorSpec(**(TENSOR | changes)),))


def compare(found: GraphContents, *, tolerance: float = 0.0, soc: int = 57) -> None:
    read = Inspection("context binary", (found,), soc_model=soc)
    require_match(read, {NAME: graph()}, SOCS["SM8650"], where="a.bin", scale_tolerance=tolerance)


def test_what_is_the_same_passes():
    compare(graph())


@pytest.mark.parametrize("changes", [{"dtype": "uint8"}, {"shape": (1, 64, 1)}, {"offset": -32767}, {"scale": None}])
def test_types_shapes_and_offsets_are_exact_whatever_the_tolerance(changes):
    with pytest.raises(ToolchainError, match=f"does not match the request: {NAME}: output hidden_0 is"):
        compare(graph(**changes), tolerance=0.5)


def test_a_scale_may_differ_as_much_as_is_said():
    compare(graph(scale=0.00100005), tolerance=1e-4)
    for scale, tolerance in ((0.00100005, 0.0), (0.0011, 1e-4)):
        with pytest.raises(ToolchainError, match="output hidden_0 is"):
            compare(graph(scale=scale), tolerance=tolerance)


def test_every_difference_is_named():
    with pytest.raises(ToolchainError) as caught:
        compare(graph(name="other"), soc=69)
    assert caught.value.what == (
        f"the binary does not match the request: {NAME}: output hidden_0 is missing; {NAME}: unexpected output other; "
        "it is for chip 69, not 57 (SM8650)"
    )
