"""GenieX's rules about graphs and rotary embeddings."""

from __future__ import annotations

import numpy as np
import pytest

from qairt.bundle.geniex_reader import GenieXModel, frequencies, graph_faults, is_special
from qairt.graph.tensors import TensorSpec
from qairt.toolchain.base import GraphContents

MODEL = GenieXModel("llama_v3_x", 2, (range(0), range(1)), 2, 16, 260, "input_ids")


def graphs(*ars: int, cls: tuple[int, ...] = (32,), zero: int = 128, dtype: str = "uint8") -> list[GraphContents]:
    made = []
    for ar in ars:
        for cl in cls:
            state = TensorSpec(name="hidden_0", dtype="uint16", shape=(1, ar, 64), scale=0.1, offset=0)
            ids = TensorSpec(name="input_ids", dtype="int32", shape=(1, ar))
            key = TensorSpec(name="past_key_0_in", dtype=dtype, shape=(2, 1, 16, cl - ar), scale=0.1, offset=-zero)
            logits = TensorSpec(name="logits", dtype="uint16", shape=(1, ar, 260), scale=0.1, offset=0)
            mask = TensorSpec(name="attention_mask", dtype="uint16", shape=(1, 1, ar, cl), scale=0.1, offset=0)
            made.append(GraphContents(f"ar{ar}_cl{cl}_1_of_2", (ids,), (state,)))
            made.append(GraphContents(f"xx_ar{ar}_cl{cl}_2_of_2", (mask, state, key), (logits,)))
    return made


def test_two_ars_at_every_context_length():
    assert list(graph_faults(graphs(1, 8, cls=(32, 64)), MODEL)) == []
    assert list(graph_faults(graphs(1), MODEL)) == [
        "the graphs have AR 1, and GenieX takes one for prompts and one for decoding"
    ]
    assert list(graph_faults(graphs(1, 8, cls=(32, 64))[:-1], MODEL)) == ["no binary has the graph ar8_cl64_2_of_2"]


@pytest.mark.parametrize("name", ["__ar1_cl32_1_of_2", "ar1-cl32_1_of_2", "x2_ar1_cl32_1_of_2", "ar1_cl32_1_of_2_"])
def test_names_that_it_does_not_read(name: str):
    first, *rest = graphs(1, 8)
    assert list(graph_faults([GraphContents(name, first.inputs, first.outputs), *rest], MODEL)) == [
        f"the graph name {name} is not of the form prefix_ar1_cl512_2_of_4, with only letters in the prefix"
    ]


@pytest.mark.parametrize(("dtype", "zero"), [("uint8", 128), ("uint16", 32768), ("int8", 0), ("int16", 0)])
def test_an_empty_cache_is_zero(dtype: str, zero: int):
    assert list(graph_faults(graphs(1, 8, zero=zero, dtype=dtype), MODEL)) == []
    assert list(graph_faults(graphs(1, 8, zero=zero + 1, dtype=dtype), MODEL)) == [
        f"xx_ar{ar}_cl32_2_of_2: past_key_0_in has zero point {zero + 1}; GenieX fills it with {zero}" for ar in (1, 8)
    ]


def test_a_second_input_is_taken_for_the_hidden_state():
    made = graphs(1, 8)
    lora = TensorSpec(name="lora_a", dtype="int8", shape=(64, 8))
    made[3] = GraphContents(made[3].name, (lora, *made[3].inputs), made[3].outputs)
    assert list(graph_faults(made, MODEL)) == [
        "xx_ar8_cl32_2_of_2 takes lora_a int8 [64, 8], but the part before gives hidden_0 uint16 [1, 8, 64]"
    ]
    assert [is_special(name) for name in ("past_key_0_in", "position_ids_cos", "hidden_0", "logits")] == [
        True,
        True,
        False,
        False,
    ]


def config(**encoding: object) -> dict[str, object]:
    return {"dialog": {"engine": {"model": {"positional-encoding": {"rope-theta": 10000.0} | encoding}}}}


def test_a_scaling_that_it_does_not_know_is_ignored():
    plain, factor = frequencies(config(), 16)
    np.testing.assert_allclose(plain, 10000.0 ** (-np.arange(8) / 8))
    ignored, _ = frequencies(config(**{"rope-scaling": {"rope-type": "yarnrope", "factor": 4.0}}), 16)
    assert (list(ignored), factor) == (list(plain), 1.0)
    half, scale = frequencies(
        config(**{"rope-scaling": {"rope-type": "partial", "rope-fraction": 0.5, "scale": 2.0}}), 16
    )
    assert (len(half), scale) == (4, 2.0)
