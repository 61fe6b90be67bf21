"""Weights that graphs of a part share."""

from __future__ import annotations

import os
from types import SimpleNamespace

import psutil
import pytest

from qairt.runtime.float_weights import FloatWeightGraph
from qairt.runtime.shared_weights import SharedWeights


@pytest.fixture
def graphs(quantized_parts) -> list[FloatWeightGraph]:
    """The graphs of AR 1 and AR 8 of part 2, with one file of weights."""
    return [FloatWeightGraph(quantized_parts[ar][1].onnx) for ar in (1, 8)]


def test_every_ar_reads_the_same_memory(graphs):
    shared = SharedWeights()
    first, second = (shared.of(2, graph, if_they_fit=True) for graph in graphs)
    assert first.keys() == second.keys()
    assert all(first[name] is second[name] for name in first)
    other = shared.of(3, graphs[0], if_they_fit=True)
    assert not any(other[name] is first[name] for name in first)


def test_what_the_next_graph_does_not_read_is_let_go(graphs, quantized_parts):
    shared = SharedWeights()
    first = shared.of(2, graphs[0], if_they_fit=True)
    copied = graphs[0].path.with_name("copied.bin")
    weights = next(path for path in graphs[0].path.parent.iterdir() if path.name == "quantized_2.bin")
    copied.write_bytes(weights.read_bytes())
    os.replace(copied, weights)  # another file with the same name
    again = shared.of(2, FloatWeightGraph(graphs[0].path), if_they_fit=True)
    assert not any(again[name] is first[name] for name in first)


def test_only_what_must_be_made_has_to_fit(graphs, monkeypatch):
    shared = SharedWeights()
    whole = graphs[0].bytes_beside({})

    def free(amount: int) -> None:
        monkeypatch.setattr(psutil, "virtual_memory", lambda: SimpleNamespace(available=amount))

    free(2 * whole)
    assert shared.of(2, graphs[0], if_they_fit=True) is None
    assert shared.of(2, graphs[0], if_they_fit=False) is not None
    free(1)
    assert shared.of(2, graphs[1], if_they_fit=True) is not None
    free(2 * whole + 1)
    assert shared.of(3, graphs[0], if_they_fit=True) is not None
