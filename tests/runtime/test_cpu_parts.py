"""Parts that open at the same time."""

from __future__ import annotations

import gc
import weakref

import pytest

from qairt.errors import GraphError
from qairt.runtime.chain import PartChain
from qairt.runtime.cpu_parts import CpuParts
from qairt.runtime.parts import PartGraph
from qairt.runtime.shared_weights import SharedWeights


def test_the_first_error_is_the_first_parts(quantized_parts, config, tmp_path):
    parts = [PartGraph(tmp_path / f"missing{at}.onnx", part.signature) for at, part in enumerate(quantized_parts[1])]
    for _ in range(5):
        with PartChain({1: [quantized_parts[1][0], *parts[1:]]}, config) as chain, pytest.raises(GraphError) as caught:
            chain.prefill([5])
        assert caught.value.where == str(tmp_path / "missing1.onnx")
        assert caught.value.remedy == "run the pipeline again; `qairt cache verify` finds damaged files"


def test_a_part_that_failed_or_never_opened_can_be_closed(quantized_parts, tmp_path):
    opener = CpuParts()
    missing = PartGraph(tmp_path / "missing.onnx", quantized_parts[1][0].signature)
    opening = [opener(part) for part in (missing, *[quantized_parts[1][1]] * 12)]
    for each in reversed(opening):
        each.close()
    opener.release()
    with pytest.raises(GraphError):
        opening[0].ready()


def test_weights_outlive_their_parts_until_they_are_released(quantized_parts, config, monkeypatch):
    held: list[weakref.ref] = []
    of = SharedWeights.of

    def seen(self, part, graph, **settings):
        found = of(self, part, graph, **settings)
        held.extend(weakref.ref(each) for each in found.values())
        return found

    monkeypatch.setattr(SharedWeights, "of", seen)
    chain = PartChain(quantized_parts, config)
    chain.prefill([5] * 8)
    prefill = len(held)
    chain.decode(6)
    assert {id(each()) for each in held[:prefill]} == {id(each()) for each in held[prefill:]}
    assert prefill > 0
    chain.close()
    gc.collect()
    assert not any(each() is not None for each in held)
