from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from tiny_parameters import TOKENS, tiny_parameters

from qairt.model.parameters import Parameters
from qairt.model.reference import Reference
from qairt.quant.encodings import Encoding, Encodings
from qairt.quant.precisions import linear_shapes
from qairt.quant.simulate import Simulated
from qairt.quant.techniques.minmax import largest_weight_encoding
from qairt.quant.threads import one_thread_each
from qairt.quant.tune.fisher import output_costs

CHUNKS = [np.random.default_rng(seed).integers(3, 128, 64) for seed in range(12)]


@pytest.fixture(scope="module")
def parameters(tmp_path_factory: pytest.TempPathFactory) -> Parameters:
    return tiny_parameters(tmp_path_factory.mktemp("model"))


def encodings(parameters: Parameters, bitwidth: int) -> dict[str, Encoding]:
    return {
        name: largest_weight_encoding(torch.from_numpy(np.array(parameters.read(name))), bitwidth)
        for name in linear_shapes(parameters.config)
    }


def costs(parameters: Parameters, chosen: dict[str, Encoding], threads: int = 1, seed: int = 0) -> dict[str, float]:
    with one_thread_each(threads) as pool:
        return output_costs(parameters, CHUNKS, chosen, pool, seed=seed)


def divergence(parameters: Parameters, chosen: dict[str, Encoding]) -> float:
    """KL(float || changed), nats per token, as it is."""
    plain, changed = Reference(parameters, keep_weights=True), Simulated(parameters, Encodings(params=chosen), True)
    total = 0.0
    for chunk in CHUNKS:
        p, q = (model.logits(chunk).double().log_softmax(-1) for model in (plain, changed))
        total += float((p.exp() * (p - q)).sum())
    return total / sum(map(len, CHUNKS))


def test_costs_are_near_the_true_divergence_one_linear_at_a_time(parameters: Parameters) -> None:
    chosen = encodings(parameters, 6)
    found = costs(parameters, chosen)
    assert list(found) == list(chosen)
    truth = {name: divergence(parameters, {name: chosen[name]}) for name in chosen}
    ratios = np.array([found[name] / truth[name] for name in chosen])
    assert ratios.min() > 0.3
    assert ratios.max() < 3
    order = np.corrcoef(np.argsort(np.argsort(list(found.values()))), np.argsort(np.argsort(list(truth.values()))))[
        0, 1
    ]
    assert order > 0.8


def test_a_finer_grid_costs_less(parameters: Parameters) -> None:
    four, eight = (sum(costs(parameters, encodings(parameters, bitwidth)).values()) for bitwidth in (4, 8))
    assert eight < four / 100


def test_only_what_is_asked_for(parameters: Parameters) -> None:
    chosen = encodings(parameters, 4)
    name = "model.layers.0.mlp.down_proj.weight"
    alone = costs(parameters, {name: chosen[name]})
    assert alone == {name: costs(parameters, chosen)[name]}


def test_weights_that_a_technique_changed(parameters: Parameters) -> None:
    """Rounded up to the next integer where nearest is down, say: the error is what was changed and rounded."""
    name = "model.layers.1.mlp.up_proj.weight"
    chosen = encodings(parameters, 4)[name]
    moved = chosen.nearest(parameters.read(name)) + 2 * chosen.scale
    other = Parameters(parameters.source, parameters.config, {name: moved})
    with one_thread_each(1) as pool:
        plain, changed = (output_costs(parameters, CHUNKS, {name: chosen}, pool, changed=c) for c in (None, other))
    assert changed[name] > 5 * plain[name]


def test_threads_change_nothing_and_a_seed_repeats(parameters: Parameters) -> None:
    chosen = encodings(parameters, 4)
    assert costs(parameters, chosen, threads=1) == costs(parameters, chosen, threads=3)
    assert costs(parameters, chosen) != costs(parameters, chosen, seed=100)


def test_weights_of_other_families(tmp_path: Path) -> None:
    qwen = tiny_parameters(tmp_path, "qwen2")
    with one_thread_each(1) as pool:
        found = output_costs(qwen, TOKENS, encodings(qwen, 4), pool)
    assert all(cost > 0 for cost in found.values())
