from __future__ import annotations

import math

import pytest
from pydantic import ValidationError

from qairt.errors import QuantizationError
from qairt.quant.config import AutoPrecision
from qairt.quant.tune.sensitivity import (
    LinearCost,
    PerplexityPoint,
    choose_eight_bits,
    linear_bytes,
    predicted_increase,
)

M = 1_000_000
COSTS = [
    LinearCost("q", error=0.02, bytes_4=1 * M, bytes_8=2 * M),
    LinearCost("down", error=0.09, bytes_4=3 * M, bytes_8=6 * M),  # 0.03 a MB
    LinearCost("up", error=0.03, bytes_4=3 * M, bytes_8=6 * M),
    LinearCost("v", error=0.04, bytes_4=1 * M, bytes_8=2 * M),
]
FIXED = 10 * M  # with 8 MB of linears in 4 bits: 18 MB


def within(budget: float) -> tuple[str, ...]:
    choice = choose_eight_bits(COSTS, FIXED, AutoPrecision(budget_mb=budget))
    assert choice.bytes <= budget * M
    assert choice.bytes == FIXED + sum(c.bytes_8 if c.name in choice.eight_bits else c.bytes_4 for c in COSTS)
    assert choice.error == pytest.approx(sum(c.error for c in COSTS if c.name not in choice.eight_bits))
    assert choice.increase is None
    return choice.eight_bits


def test_most_error_saved_per_byte_comes_first() -> None:
    assert within(18) == ()
    assert within(19) == ("v",)
    assert within(22) == ("v", "down")
    assert within(23) == ("v", "down", "q")
    assert within(26) == ("v", "down", "q", "up")


def test_a_size_may_grow_by_a_fraction() -> None:
    for fraction, expected in ((0.05, ()), (0.06, ("v",)), (0.23, ("v", "down"))):
        choice = choose_eight_bits(COSTS, FIXED, AutoPrecision(max_size_increase=fraction))
        assert choice.eight_bits == expected
        assert choice.bytes <= 18 * M * (1 + fraction)


def test_what_does_not_fit_is_passed_over_for_smaller_ones() -> None:
    assert within(20.5) == ("v", "q")


def test_a_budget_below_4_bits_says_what_is_needed() -> None:
    with pytest.raises(QuantizationError) as error:
        within(17.5)
    assert str(error.value) == (
        "auto_precision.budget_mb: the weights do not fit 17.5 MB: with every linear in 4 bits they take 18 MB\n"
        "  set it to at least 18"
    )


def test_a_line_from_no_cost_through_the_measured_points() -> None:
    one = [PerplexityPoint(0.2, math.expm1(0.1))]
    for error, expected in ((0.0, 0.0), (0.1, 0.05), (0.2, 0.1), (0.3, 0.15)):
        assert predicted_increase(one, error) == pytest.approx(math.expm1(expected))
    two = [*one, PerplexityPoint(0.1, math.expm1(0.08))]
    for error, expected in ((0.0, 0.0), (0.05, 0.04), (0.1, 0.08), (0.15, 0.09), (0.2, 0.1), (0.3, 0.12)):
        assert predicted_increase(two, error) == pytest.approx(math.expm1(expected))


def test_a_point_that_says_less_costs_more_is_not_used() -> None:
    odd = [PerplexityPoint(0.2, math.expm1(0.1)), PerplexityPoint(0.1, -0.01)]
    assert predicted_increase(odd, 0.1) == pytest.approx(math.expm1(0.05))
    assert predicted_increase(odd[1:], 0.1) is None
    assert predicted_increase([], 0.1) is None


def test_as_few_as_keep_perplexity() -> None:
    points = [PerplexityPoint(0.18, 0.20)]
    sums = {0.18: (), 0.14: ("v",), 0.05: ("v", "down"), 0.03: ("v", "down", "q"), 0.0: ("v", "down", "q", "up")}
    for error, expected in sums.items():
        increase = predicted_increase(points, error)
        assert increase is not None
        choice = choose_eight_bits(COSTS, FIXED, AutoPrecision(max_ppl_increase=max(increase * 1.001, 1e-9)), points)
        assert choice.eight_bits == expected
        assert choice.increase == pytest.approx(increase, abs=1e-12)
        assert choice.error == pytest.approx(error, abs=1e-12)


def test_a_second_point_corrects_the_first() -> None:
    settings = AutoPrecision(max_ppl_increase=0.06)
    points = [PerplexityPoint(0.18, 0.20)]
    assert choose_eight_bits(COSTS, FIXED, settings, points).eight_bits == ("v", "down")
    points.append(PerplexityPoint(0.05, 0.08))
    assert choose_eight_bits(COSTS, FIXED, settings, points).eight_bits == ("v", "down", "q")


def test_measured_points_give_a_budget_its_prediction() -> None:
    choice = choose_eight_bits(COSTS, FIXED, AutoPrecision(budget_mb=22), [PerplexityPoint(0.18, 0.2)])
    assert choice.increase == pytest.approx(1.2 ** (0.05 / 0.18) - 1)


def test_points_without_a_cost_give_a_budget_no_prediction() -> None:
    assert choose_eight_bits(COSTS, FIXED, AutoPrecision(budget_mb=22), [PerplexityPoint(0.18, -0.01)]).increase is None


def test_the_order_of_the_costs_changes_nothing() -> None:
    equal = [LinearCost(name, 0.1, M, 2 * M) for name in "bca"]
    for costs in (equal, equal[::-1]):
        assert choose_eight_bits(costs, 0, AutoPrecision(budget_mb=5)).eight_bits == ("a", "b")


@pytest.mark.parametrize(
    "points", [[], [PerplexityPoint(0.18, 0.0)], [PerplexityPoint(0.18, -0.01)], [PerplexityPoint(0.0, 0.2)]]
)
def test_no_prediction_without_a_cost_in_perplexity(points: list[PerplexityPoint]) -> None:
    with pytest.raises(QuantizationError, match=r"^auto_precision\.max_ppl_increase: perplexity did not grow"):
        choose_eight_bits(COSTS, FIXED, AutoPrecision(max_ppl_increase=0.05), points)


@pytest.mark.parametrize("bad", [math.nan, math.inf, -0.1])
def test_an_error_that_is_no_number_names_the_linear(bad: float) -> None:
    with pytest.raises(QuantizationError, match=r"^down: its cost with 4 bits is "):
        choose_eight_bits([LinearCost("down", bad, 1, 2)], 0, AutoPrecision(budget_mb=5))


def test_bytes_of_a_linear() -> None:
    assert linear_bytes(128, 10, 4, 64) == 640 + 20 + 40
    assert linear_bytes(128, 10, 8, None) == 1280 + 40


@pytest.mark.parametrize(
    "settings",
    [{}, {"budget_mb": 100, "max_ppl_increase": 0.05}, {"max_ppl_increase": 0.05, "max_size_increase": 0.03}],
)
def test_one_aim_and_not_two(settings: dict[str, float]) -> None:
    with pytest.raises(ValidationError, match="set one of budget_mb, max_ppl_increase and max_size_increase"):
        AutoPrecision.model_validate(settings)


@pytest.mark.parametrize("settings", [{"budget_mb": 0}, {"max_ppl_increase": -0.1}, {"budget": 3}])
def test_aims_that_cannot_be(settings: dict[str, float]) -> None:
    with pytest.raises(ValidationError):
        AutoPrecision.model_validate(settings)
