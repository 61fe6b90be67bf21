"""Techniques that look at a linear's inputs: scales by output error, and rounding that makes good its own error."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import Executor

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor

from qairt.errors import QuantizationError
from qairt.quant.config import TechniqueConfig
from qairt.quant.measure.gram import Gram
from qairt.quant.techniques import technique
from qairt.quant.techniques.base import WeightChoice
from qairt.quant.techniques.compensation import compensated
from qairt.quant.techniques.lpbq_grid import best_scales, largest_scales, output_cost
from qairt.quant.techniques.minmax import MinMax
from qairt.quant.threads import one_thread_each

INPUTS, OUTPUTS = 96, 24
RNG = np.random.default_rng(7)


def tensor(values: NDArray[np.float64]) -> Tensor:
    return torch.from_numpy(values.astype(np.float32))


@pytest.fixture
def pool() -> Iterator[Executor]:
    with one_thread_each(2) as opened:
        yield opened


def weights() -> Tensor:
    """Heavy-tailed, as trained weights are."""
    return torch.from_numpy(np.random.default_rng(0).standard_t(4, (INPUTS, OUTPUTS)).astype(np.float32))


def tokens(count: int = 300, seed: int = 1) -> Tensor:
    """Inputs that go together and are not equally large."""
    random = np.random.default_rng(seed)
    mixed = random.standard_normal((count, 12)) @ random.standard_normal((12, INPUTS))
    size = random.lognormal(0, 1, INPUTS)
    return torch.from_numpy(((mixed + 0.5 * random.standard_normal((count, INPUTS))) * size).astype(np.float32))


def choose(weight: Tensor, gram: Gram, pool: Executor, **settings: object) -> WeightChoice:
    config = TechniqueConfig.model_validate({"technique": "lpbq", "block_size": 32} | settings)
    return technique(config).choose("w", weight, energy=None, gram=gram, pool=pool)


def output_error(x: Tensor, weight: Tensor, quantized: Tensor) -> float:
    return float(((x @ (weight - quantized)) ** 2).sum())


def test_the_matrix_is_that_of_the_inputs_with_loud_tokens_scaled_down(pool: Executor) -> None:
    x = tokens()
    x[0] *= 1000
    pieces = [x[:100], x[100:]]
    gram = Gram(pieces, pieces, pool, damping=1e-9)
    energy = x.double().square().sum(1)
    share = (energy.median() / energy).clamp(max=1)
    torch.testing.assert_close(gram.matrix.double(), (x.double() * share[:, None]).T @ x.double(), rtol=1e-4, atol=1e-2)
    torch.testing.assert_close(gram.matrix, gram.matrix.T, rtol=0, atol=0)
    blocks = torch.stack([gram.matrix[start : start + 32, start : start + 32] for start in (0, 32, 64)])
    torch.testing.assert_close(gram.squares(32), blocks, rtol=1e-4, atol=1e-2)
    weight = weights()
    assert gram.target(weight) is weight


def test_damping_is_of_the_mean_energy(pool: Executor) -> None:
    x = tokens()
    plain, damped = (Gram([x], [x], pool, damping=damping).matrix for damping in (1e-9, 0.5))
    added = 0.5 * plain.diagonal().mean()
    torch.testing.assert_close(damped - plain, added * torch.eye(INPUTS), rtol=1e-3, atol=float(added) * 1e-3)


def test_nan_is_seen(pool: Executor) -> None:
    x = tokens()
    assert Gram([x], [x], pool).is_finite
    x[7, 3] = float("nan")
    assert not Gram([x], [x], pool).is_finite


def test_the_error_is_the_share_of_the_output_that_is_lost(pool: Executor) -> None:
    x, weight = tokens(), weights()
    x /= x.norm(dim=1, keepdim=True)  # all count alike
    other = weight + 0.1 * torch.from_numpy(np.random.default_rng(2).standard_normal(weight.shape).astype(np.float32))
    found = Gram([x], [x], pool).error(weight, other)
    assert found == pytest.approx(output_error(x, weight, other) / float(((x @ weight) ** 2).sum()), rel=1e-3)


def test_the_weight_to_aim_at_gives_the_float_output_from_other_inputs(pool: Executor) -> None:
    floats, weight = tokens(), weights()
    noise = np.random.default_rng(3).standard_normal(floats.shape).astype(np.float32)
    inputs = floats * 0.9 + 0.05 * torch.from_numpy(noise)
    target = Gram([inputs], [floats], pool, damping=1e-4).target(weight)
    aimed, before = (float(((floats @ weight - inputs @ value) ** 2).sum()) for value in (target, weight))
    assert aimed < 0.5 * before


def test_the_search_by_output_error_beats_the_one_by_weight_error(pool: Executor) -> None:
    x, weight = tokens(), weights()
    gram = Gram([x], [x], pool)
    searched = choose(weight, gram, pool, scale_search="seqmse").encoding.nearest(weight.numpy())
    plain = choose(weight, gram, pool, scale_search="rtn").encoding.nearest(weight.numpy())
    assert gram.error(weight, torch.from_numpy(searched)) < 0.9 * gram.error(weight, torch.from_numpy(plain))


def test_the_chosen_scales_are_those_that_running_the_layer_would_choose(pool: Executor) -> None:
    """Block by block, against the output error of the block's own inputs, computed from the inputs."""
    x, weight = tokens(), weights()
    x /= x.norm(dim=1, keepdim=True)
    channel, integers = best_scales(weight, 32, 20, output_cost(Gram([x], [x], pool).squares(32)), pool)
    for block in range(3):
        rows = slice(block * 32, block * 32 + 32)

        def error(integer: Tensor, rows: slice = rows) -> Tensor:
            scale = integer * channel
            lost = (weight[rows] / scale).round().clamp(-8, 7) * scale - weight[rows]
            return (x[:, rows] @ lost).square().sum(0)

        for step in (-1, 1):
            beside = (integers[block] + step).clamp(1, 16)
            better = error(beside) < 0.97 * error(integers[block])
            assert better.float().mean() < 0.2


def test_inputs_that_are_equal_need_damping(pool: Executor) -> None:
    half = torch.randn(64, 32, generator=torch.Generator().manual_seed(0))
    inputs = torch.cat([half, half], 1)
    assert Gram([inputs], [inputs], pool, damping=0.01).inverse_cholesky.isfinite().all()
    with pytest.raises(QuantizationError, match="^damping: some inputs of a linear depend on others so much"):
        _ = Gram([inputs], [inputs], pool, damping=1e-9).inverse_cholesky


def test_gptq_and_descent_lower_the_output_error_each(pool: Executor) -> None:
    x, weight = tokens(), weights()
    gram = Gram([x], [x], pool)
    channel, integers = largest_scales(weight, 32)
    grid = (integers * channel).repeat_interleave(32, 0)
    nearest = (weight / grid).round().clamp(-8, 7) * grid
    errors = [gram.error(weight, nearest)]
    for passes in (0, 1, 5):
        errors.append(gram.error(weight, compensated(weight, grid, gram, pool, passes=passes)))
    assert errors[1] < 0.6 * errors[0]
    assert errors[2] < errors[1]
    assert errors[3] <= errors[2]


def test_compensated_values_are_on_the_grid_and_the_encoding_gives_them_back(pool: Executor) -> None:
    x, weight = tokens(), weights()
    chosen = choose(weight, Gram([x], [x], pool), pool, scale_search="seqmse", rounding="gptq")
    assert chosen.values is not None
    assert np.array_equal(chosen.encoding.nearest(chosen.values.numpy()), chosen.values.numpy())
    assert not torch.equal(chosen.values, torch.from_numpy(chosen.encoding.nearest(weight.numpy())))


def test_an_input_counts_as_much_as_the_others_leave_of_it(pool: Executor) -> None:
    x, _ = tokens(), weights()
    gram = Gram([x], [x], pool)
    first, *_, last = gram.order.tolist()
    ratio = gram.unexplained[first] / gram.unexplained[last]
    others = gram.order[1:]
    explained = gram.matrix[first, others] @ torch.linalg.solve(
        gram.matrix[others][:, others], gram.matrix[others, first]
    )
    expected = (gram.matrix[first, first] - explained) / gram.matrix[last, last]
    assert float(ratio) == pytest.approx(float(expected), rel=1e-3)
    assert float(gram.unexplained.mean()) == pytest.approx(1.0)


def test_scales_for_what_is_left_beat_those_for_the_weights_alone(pool: Executor) -> None:
    x, weight = tokens(), weights()
    gram = Gram([x], [x], pool)
    errors = {}
    for importance in ("none", "energy"):
        chosen = choose(weight, gram, pool, scale_search="mse", importance=importance, rounding="gptq")
        assert chosen.values is not None
        errors[importance] = gram.error(weight, chosen.values)
    assert errors["energy"] < errors["none"]


def test_8_bits_among_compensating_4_bits_compensate_too(pool: Executor) -> None:
    x, weight = tokens(), weights()
    gram = Gram([0.9 * x], [x], pool)
    eight = TechniqueConfig(technique="minmax")
    plain = MinMax(eight).choose("w", weight, energy=None, gram=gram, pool=pool)
    assert plain.values is None
    chosen = MinMax(eight, compensates=True).choose("w", weight, energy=None, gram=gram, pool=pool)
    assert chosen.values is not None
    assert np.array_equal(chosen.encoding.nearest(chosen.values.numpy()), chosen.values.numpy())
    aimed, before = (
        float(((x @ weight - 0.9 * x @ value) ** 2).sum())
        for value in (chosen.values, torch.from_numpy(plain.encoding.nearest(weight.numpy())))
    )
    assert aimed < 0.1 * before, (aimed, before)


@pytest.mark.parametrize("rounding", ["nearest", "gptq"])
def test_weights_on_a_grid_keep_it(pool: Executor, rounding: str) -> None:
    x, weight = tokens(), weights()
    scale = weight.reshape(-1, 32, weight.shape[1]).abs().amax(1).repeat_interleave(32, 0) / 7
    stored = (weight / scale).round().clamp(-7, 7) * scale
    chosen = choose(stored, Gram([x], [1.1 * x], pool), pool, scale_search="mse", rounding=rounding)
    assert chosen.encoding.blocks is not None
    steps = chosen.encoding.to_steps(stored.numpy() if chosen.values is None else chosen.values.numpy())
    assert np.mean(steps == (stored / scale).round().numpy()) > 0.97


@pytest.mark.parametrize("rounding", ["nearest", "gptq"])
def test_the_number_of_threads_does_not_matter(rounding: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("qairt.quant.measure.gram.TILE", 40)
    monkeypatch.setattr("qairt.quant.techniques.lpbq_grid.COLUMNS", 10)
    monkeypatch.setattr("qairt.quant.techniques.compensation.COLUMNS", 7)
    x, weight = tokens(), weights()
    found = []
    for threads in (1, 3):
        with one_thread_each(threads) as pool:
            gram = Gram([x[:50], x[50:]], [1.1 * x[:50], x[50:]], pool)
            found.append(choose(weight, gram, pool, scale_search="seqmse", rounding=rounding))
    assert found[0].encoding.same_grid(found[1].encoding)
    if found[0].values is not None and found[1].values is not None:
        assert torch.equal(found[0].values, found[1].values)


def test_inputs_that_were_never_seen_and_dead_channels(pool: Executor) -> None:
    x, weight = tokens(), weights()
    x[:, 3] = 0
    x[:, 32:64] = 0
    weight[:, 5] = 0
    chosen = choose(weight, Gram([x], [x], pool), pool, scale_search="seqmse", rounding="gptq")
    assert chosen.values is not None
    assert torch.isfinite(chosen.values).all()
    assert not chosen.values[:, 5].any()


@pytest.mark.parametrize(("noise", "low", "high"), [(0.0, 0.99, 1.0), (0.3, 0.3, 0.9), (10.0, 0.0, 0.1)])
def test_a_correction_is_added_as_far_as_it_holds_on_other_tokens(noise: float, low: float, high: float) -> None:
    """The streams differ by what a linear map of the inputs explains, and by noise."""
    moved = np.eye(64) + RNG.normal(0, 0.02, (64, 64))
    segments = []
    for _ in range(6):
        x = RNG.normal(size=(40, 64))
        segments.append((tensor(x), tensor(x @ moved + noise * RNG.normal(size=x.shape))))
    inputs, floats = map(list, zip(*segments, strict=True))
    weight = tensor(RNG.normal(size=(64, 100)))
    with one_thread_each(2) as pool:
        found = Gram(inputs, floats, pool, damping=1e-4)
        target = found.target(weight)
        assert low <= found._share <= high
        whole = Gram(inputs, floats, pool, damping=1e-4)
        whole._share = 1.0
        unshared = whole.target(weight)
    x = tensor(RNG.normal(size=(4000, 64)))
    wanted = x @ tensor(moved) @ weight

    def error(target: torch.Tensor) -> float:
        return float((x @ target - wanted).square().sum())

    assert error(target) <= 1.01 * min(error(unshared), error(weight))


def test_one_segment_is_halved() -> None:
    x, weight = tensor(RNG.normal(size=(90, 16))), tensor(RNG.normal(size=(16, 8)))
    with one_thread_each(1) as pool:
        gram = Gram([x], [1.1 * x], pool, damping=1e-6)
        torch.testing.assert_close(gram.target(weight), 1.1 * weight, rtol=1e-3, atol=1e-3)
        same = Gram([x], [x.clone()], pool)
        torch.testing.assert_close(same.target(weight), weight)
