"""How the chained parts read the text, and that their inputs are those of the parts' test vectors."""

from __future__ import annotations

import numpy as np
import pytest
from tiny_models import save_tiny

from qairt.model.describe import describe_model
from qairt.model.names import PAST
from qairt.model.parameters import open_parameters
from qairt.model.parts import plan_split
from qairt.quant.config import TechniqueConfig
from qairt.quant.measure.reference_vectors import expected_outputs, part_inputs
from qairt.quant.quantize_model import quantize_model
from qairt.verify.layers import layer_costs
from qairt.verify.measure import rows
from qairt.verify.text import GraphCall, PartCache, ReferenceText, plan_calls

IDS = np.random.default_rng(0).integers(3, 120, 40)
FLOOR = -50.0


@pytest.fixture(scope="module")
def parameters(tmp_path_factory):
    folder = tmp_path_factory.mktemp("model")
    save_tiny(folder, "llama")
    return open_parameters(folder, describe_model(folder).config)


@pytest.fixture(scope="module")
def quantized(parameters):
    return quantize_model(parameters, [IDS], TechniqueConfig(technique="minmax", weight_bitwidth=4))


@pytest.fixture(scope="module")
def text(parameters, quantized):
    vectors = quantized.reference
    return ReferenceText(
        vectors,
        parameters.config,
        mask_floor=FLOOR,
        logits=lambda start, stop: vectors.tensors["logits"][0, start:stop],
    )


def test_prefill_by_the_largest_ar_with_a_padded_last_call_then_decode():
    assert plan_calls(32, (1, 8), 32, decoded=4) == [
        GraphCall(8, 0, 8), GraphCall(8, 8, 8), GraphCall(8, 16, 8), GraphCall(8, 24, 4),
        GraphCall(1, 28, 1), GraphCall(1, 29, 1), GraphCall(1, 30, 1), GraphCall(1, 31, 1),
    ]  # fmt: skip
    assert plan_calls(256, (1, 128), 512, decoded=4)[:3] == [
        GraphCall(128, 0, 128),
        GraphCall(128, 128, 124),
        GraphCall(1, 252, 1),
    ]
    assert plan_calls(1, (1, 8), 32, decoded=4) == [GraphCall(1, 0, 1)]
    assert plan_calls(3, (1,), 32, decoded=4) == [GraphCall(1, 0, 1), GraphCall(1, 1, 1), GraphCall(1, 2, 1)]


def test_near_the_end_of_the_context_only_small_ars_fit():
    calls = plan_calls(40, (1, 32), 40, decoded=1)
    assert calls[0] == GraphCall(32, 0, 32)
    assert {call.ar for call in calls[1:]} == {1}
    assert sum(call.new for call in calls) == 40
    assert plan_calls(40, (32,), 40, decoded=1) == [GraphCall(32, 0, 32)], "nothing can read the rest"


@pytest.mark.parametrize(("ar", "cl"), [(1, 64), (8, 64), (8, 24), (64, 128)])
def test_isolated_inputs_are_the_test_vectors(parameters, quantized, text, ar, cl):
    part = plan_split(embedding_bytes=1, layer_bytes=[1, 1], head_bytes=1, num_splits=3)[1]
    config = parameters.config
    wanted = part_inputs(quantized.reference, config, part, ar=ar, cl=cl, mask_floor=FLOOR)
    call = text.isolated_call(ar, cl)
    found = text.runtime_inputs(call, cl) | text.entering(part.enters, call)
    found |= {name: text.past(name, call, cl) for name in wanted if PAST.match(name)}
    for name, values in wanted.items():
        assert np.array_equal(found[name], values), name
    for name, values in expected_outputs(quantized.reference, config, part, ar=ar, cl=cl).items():
        assert np.array_equal(text.truth(name, call), rows(name, values, call.new)), name


def test_cached_tokens_are_right_aligned():
    cache, name = PartCache(), "past_value_0_in"
    empty = cache.past(name, (2, 1, 0, 3), 6, GraphCall(2, 0, 2))
    assert empty.shape == (2, 1, 6, 3)
    assert not empty.any()
    values = np.arange(12, dtype=np.float32).reshape(1, 1, 4, 3)
    cache.append({"past_value_0_out": values, "hidden_1": values}, 3)
    back = cache.past(name, (1, 1, 0, 3), 6, GraphCall(2, 3, 2))
    assert back[0, 0, :, 0].tolist() == [0, 0, 0, 3, 6, 9]
    cache.append({"past_value_0_out": values}, 2)
    assert cache.past(name, (1, 1, 0, 3), 4, GraphCall(4, 5, 4))[0, 0, :, 0].tolist() == [6, 9, 6, 9]


def test_layers_with_the_fewest_bits_cost_most(parameters, quantized):
    said: list[str] = []
    costs = layer_costs(parameters, parameters, quantized.encodings, IDS[:16], said.append)
    assert [cost.name for cost in costs] == ["embedding", "layer 0", "layer 1", "lm_head"]
    assert all(cost.kl > 0 for cost in costs)
    by_name = {cost.name: cost for cost in costs}
    assert by_name["embedding"].sqnr_db > 30, "8 bits"
    assert max(costs, key=lambda cost: cost.kl).name.startswith("layer"), "4 bits"
    assert said == ["quantize: cost of layer 1 of 2"]
