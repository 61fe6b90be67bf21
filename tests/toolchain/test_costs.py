"""What parts were measured to take, against what is said beforehand."""

from __future__ import annotations

import pytest

from qairt.model.parts import Part, plan_split
from qairt.toolchain.costs import (
    compile_peak,
    compile_seconds,
    graph_peak,
    graph_seconds,
    quantize_peak,
    quantize_seconds,
)

_SHAPES = {"1B": (2048, 8192, 512, 2048, 128256), "8B": (4096, 14336, 1024, 4096, 128256)}
"""Width, MLP, keys, queries, vocabulary."""
_GB = 1e9


def parts(shape: str, layers: int) -> list[Part]:
    """The embedding, and the rest."""
    hidden, mlp, keys, queries, vocabulary = _SHAPES[shape]
    layer = 4 * (2 * hidden * keys + 2 * hidden * queries + 3 * hidden * mlp + 2 * hidden)
    table = 4 * vocabulary * hidden
    return plan_split(embedding_bytes=table, layer_bytes=[layer] * layers, head_bytes=table, num_splits=2)


MEASURED = [
    # shape, layers, part; GB to compile, to quantize, to check the float graph; CPU seconds of the same (two graphs
    # compiled). `tests/bench/growth.py --layers 2,4`, CL 1024 for 1B and 4096 for 8B, W4 but for embedding and head.
    ("1B", 2, 0, (2.24, 1.16, 0.42), (8.4, 3.2, 0.8)),
    ("1B", 2, 1, (3.12, 1.20, 1.91), (51.0, 12.5, 5.5)),
    ("1B", 4, 0, (2.24, 1.16, 0.42), (7.4, 2.9, 1.2)),
    ("1B", 4, 1, (3.82, 1.25, 2.54), (77.0, 22.0, 7.3)),
    ("8B", 2, 0, (4.45, 2.21, 0.49), (14.4, 4.7, 1.9)),
    ("8B", 2, 1, (6.78, 2.24, 4.50), (122.2, 38.3, 11.5)),
]


@pytest.mark.parametrize(("shape", "layers", "place", "peaks", "seconds"), MEASURED)
def test_peaks_are_known_within_a_quarter_and_times_within_a_factor_of_two(shape, layers, place, peaks, seconds):
    part = parts(shape, layers)[place]
    for found, measured in zip((compile_peak(part, 4), quantize_peak(part), graph_peak(part)), peaks, strict=True):
        assert found == pytest.approx(measured * _GB, rel=0.25)
    said = compile_seconds(part, 4, 2), quantize_seconds(part), graph_seconds(part)
    for found, took in zip(said, seconds, strict=True):
        assert took / 2 <= found <= 2 * took


def test_a_part_of_layers_alone_needs_no_table():
    whole = parts("8B", 4)[1]
    layers = whole.model_copy(update={"weight_bytes": whole.weight_bytes - whole.head_bytes, "head_bytes": 0})
    assert quantize_peak(layers) < 0.25 * quantize_peak(whole)
    assert compile_peak(layers, 8) > compile_peak(layers, 4)
