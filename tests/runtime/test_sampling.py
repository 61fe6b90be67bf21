"""Which token is drawn."""

import numpy as np
import pytest

from qairt.errors import GenerationError
from qairt.runtime.sampling import Sampling, TokenSampler, distribution

LOGITS = np.log(np.array([0.1, 0.4, 0.05, 0.3, 0.15], np.float32))


def draw(count: int = 2000, **settings: float) -> np.ndarray:
    sampler = TokenSampler(Sampling(**settings))
    return np.bincount([sampler.pick(LOGITS) for _ in range(count)], minlength=5) / count


def test_greedy_takes_the_likeliest_and_the_first_of_equals():
    assert TokenSampler(Sampling()).pick(LOGITS) == 1
    assert TokenSampler(Sampling(seed=7, top_k=3)).pick(np.array([1, 5, 5, 0], np.float32)) == 1


def test_temperature_one_draws_by_the_models_own_probabilities():
    np.testing.assert_allclose(draw(temperature=1), [0.1, 0.4, 0.05, 0.3, 0.15], atol=0.04)


def test_a_low_temperature_sharpens_and_a_high_one_flattens():
    _, cold = distribution(LOGITS, Sampling(temperature=0.5))
    np.testing.assert_allclose(cold, np.array([16, 9, 2.25, 1, 0.25]) / 28.5, rtol=1e-5)
    _, hot = distribution(LOGITS, Sampling(temperature=100))
    np.testing.assert_allclose(hot, np.full(5, 0.2), atol=0.01)


@pytest.mark.parametrize("temperature", [1e-30, 1e-308, 5e-324])
def test_the_lowest_temperatures_are_greedy(temperature):
    assert set(np.flatnonzero(draw(20, temperature=temperature))) == {1}
    assert TokenSampler(Sampling(temperature=temperature)).pick(np.array([-np.inf, 3e38, -3e38], np.float32)) == 1


def test_top_k_keeps_the_k_likeliest():
    candidates, probabilities = distribution(LOGITS, Sampling(temperature=1, top_k=2))
    assert candidates.tolist() == [1, 3]
    np.testing.assert_allclose(probabilities, [4 / 7, 3 / 7], rtol=1e-5)
    assert set(np.flatnonzero(draw(temperature=1, top_k=2))) == {1, 3}


def test_top_k_larger_than_the_vocabulary_keeps_all():
    assert distribution(LOGITS, Sampling(temperature=1, top_k=50))[0].tolist() == [1, 3, 4, 0, 2]


def test_top_k_among_equals_keeps_the_lower_ids():
    assert distribution(np.zeros(6, np.float32), Sampling(temperature=1, top_k=2))[0].tolist() == [0, 1]


@pytest.mark.parametrize(("top_p", "kept"), [(0.3, [1]), (0.5, [1, 3]), (0.69, [1, 3]), (0.8, [1, 3, 4])])
def test_top_p_keeps_the_fewest_that_reach_it(top_p, kept):
    assert distribution(LOGITS, Sampling(temperature=1, top_p=top_p))[0].tolist() == kept


def test_top_p_applies_to_what_top_k_left():
    # Of [4/7, 3/7] the first alone reaches 0.55.
    assert distribution(LOGITS, Sampling(temperature=1, top_k=2, top_p=0.55))[0].tolist() == [1]


def test_it_is_what_transformers_draws_from():
    transformers = pytest.importorskip("transformers")
    torch = pytest.importorskip("torch")
    logits = np.random.default_rng(0).normal(0, 3, 200).astype(np.float32)
    scores = torch.from_numpy(logits)[None]
    for warper in (
        transformers.TemperatureLogitsWarper(0.7),
        transformers.TopKLogitsWarper(40),
        transformers.TopPLogitsWarper(0.8),
    ):
        scores = warper(None, scores)
    expected = torch.softmax(scores[0], -1).numpy()
    candidates, probabilities = distribution(logits, Sampling(temperature=0.7, top_k=40, top_p=0.8))
    assert sorted(candidates.tolist()) == np.flatnonzero(expected).tolist()
    np.testing.assert_allclose(probabilities, expected[candidates], rtol=1e-4)


def test_a_seed_repeats_and_another_does_not():
    def tokens(seed: int) -> list[int]:
        sampler = TokenSampler(Sampling(temperature=1, seed=seed))
        return [sampler.pick(LOGITS) for _ in range(40)]

    assert tokens(3) == tokens(3)
    assert tokens(3) != tokens(4)


@pytest.mark.parametrize(
    ("setting", "value", "message"),
    [
        (
            "temperature",
            -0.5,
            "temperature: -0.5 is out of range\n  allowed: 0 (greedy) or more, usually below 2",
        ),
        ("temperature", float("nan"), "temperature: nan is out of range"),
        ("temperature", float("inf"), "temperature: inf is out of range"),
        ("top_k", -1, "top_k: -1 is out of range\n  allowed: 0 (all tokens) or more"),
        ("top_p", 0, "top_p: 0 is out of range\n  allowed: above 0 and at most 1"),
        ("top_p", 1.5, "top_p: 1.5 is out of range"),
        ("seed", -2, "seed: -2 is out of range\n  allowed: 0 or more"),
    ],
)
def test_a_setting_out_of_range_is_refused(setting, value, message):
    with pytest.raises(GenerationError) as caught:
        Sampling(**{setting: value})
    assert message in str(caught.value)
    assert caught.value.exit_code == 2


def test_logits_with_nan_are_refused():
    with pytest.raises(GenerationError, match="logits: the logits contain NaN"):
        TokenSampler(Sampling()).pick(np.array([0, np.nan], np.float32))
