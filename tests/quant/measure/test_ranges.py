from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
import torch
from pydantic import ValidationError
from tiny_parameters import TOKENS, tiny_parameters
from torch import Tensor

from qairt.errors import QuantizationError
from qairt.quant.activations import activation_encodings
from qairt.quant.measure.activation_ranges import ActivationRanges
from qairt.quant.measure.calibration import Calibration
from qairt.quant.measure.ranges import Ranges
from qairt.quant.structure import Structure
from qairt.quant.threads import one_thread_each
from qairt.quant.weights import EmbeddingSearch

PERCENTILE = ActivationRanges(method="percentile", percentile=99.0)
MSE = ActivationRanges(method="mse")
KEY, SCORES, NORM = "past_key_0_out", "layers.0.attn.scores", "layers.0.attn.norm"


@pytest.fixture(scope="module")
def structure(tmp_path_factory: pytest.TempPathFactory) -> Structure:
    return Structure(tiny_parameters(tmp_path_factory.mktemp("model")).config)


def drawn(*shape: int) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(0))


def test_minmax_keeps_everything(structure: Structure) -> None:
    ranges = Ranges(structure)
    value = drawn(1, 200, 64)
    value[0, 7, 3] = -20.0
    ranges.tap(NORM, value)
    assert ranges.of(NORM, 16) == (-20.0, float(value.max()))


@pytest.mark.parametrize("settings", [PERCENTILE, MSE], ids=["percentile", "mse"])
@pytest.mark.parametrize(("name", "shape"), [(NORM, (1, 400, 64)), ("past_value_0_out", (2, 1, 400, 16))])
def test_a_rare_value_is_clipped_but_not_one_of_the_first_token(
    structure: Structure, settings: ActivationRanges, name: str, shape: tuple[int, ...]
) -> None:
    value = drawn(*shape)
    value[..., 7, 3] = 20.0
    later, first = Ranges(structure, settings), Ranges(structure, settings)
    later.tap(name, value)
    assert later.of(name, 4)[1] < 15
    value[..., 0, 3] = 20.0
    first.tap(name, value)
    assert first.of(name, 4)[1] == 20.0
    assert first.of(name, 4, symmetric=True) == (-20.0, 20.0)


def test_the_first_token_is_in_no_statistic_of_the_others(structure: Structure) -> None:
    """However many values it has: here two of three."""
    value = drawn(1, 3, 64)
    value[0, 0] = value[0, 1] = torch.linspace(0, 50, 64)
    ranges = Ranges(structure, ActivationRanges(method="percentile", percentile=50))
    ranges.tap(NORM, value[:, :1])
    ranges.begins_at(256)
    ranges.tap(NORM, value[:, 1:])
    counted = int(ranges._counts[structure.tied(NORM)].sum())
    assert counted == 128
    assert ranges.of(NORM, 16)[1] == 50.0


def test_the_first_of_a_segment_further_on_is_like_any_other(structure: Structure) -> None:
    value = drawn(1, 400, 64)
    value[0, 0, 3] = 20.0
    ranges = Ranges(structure, PERCENTILE)
    ranges.begins_at(256)
    ranges.tap(NORM, value)
    assert ranges.of(NORM, 16)[1] < 15


def test_tokens_are_on_the_last_axis_of_keys(structure: Structure) -> None:
    for place, clipped in ((0, False), (9, True)):
        value = drawn(2, 1, 16, 400)
        value[0, 0, 3, place] = 20.0
        ranges = Ranges(structure, MSE)
        ranges.tap(KEY, value)
        assert (ranges.of(KEY, 4, symmetric=True)[1] < 15) is clipped
        assert ranges.of("past_key_0_in", 8) == ranges.of("layers.0.attn.keys", 8) == ranges.of(KEY, 8)


@pytest.mark.parametrize(("row", "column", "clipped"), [(0, 5, False), (9, 0, False), (9, 5, True), (0, 0, False)])
def test_in_the_scores_it_is_a_query_and_a_key(structure: Structure, row: int, column: int, clipped: bool) -> None:
    value = drawn(2, 2, 100, 100)
    value[..., row, column] = 20.0
    ranges = Ranges(structure, ActivationRanges(method="percentile", percentile=99))
    ranges.tap(SCORES, value)
    assert (ranges.of(SCORES, 16)[1] < 15) is clipped
    assert int(ranges._counts[structure.tied(SCORES)].sum()) == 4 * 99 * 99


def test_a_later_segment_sees_the_first_token_as_a_key(structure: Structure) -> None:
    value = drawn(2, 2, 100, 300)
    value[..., 9, 0] = 20.0
    ranges = Ranges(structure, PERCENTILE)
    ranges.begins_at(200)
    ranges.tap(SCORES, value)
    assert ranges.of(SCORES, 16)[1] == 20.0


def test_keys_and_values_may_have_a_method_of_their_own(structure: Structure) -> None:
    ranges = Ranges(structure, ActivationRanges(kv_cache="mse"))
    for name, shape in ((NORM, (1, 400, 64)), ("past_value_0_out", (2, 1, 400, 16))):
        value = drawn(*shape)
        value[..., 7, 3] = 20.0
        ranges.tap(name, value)
    assert ranges.of(NORM, 16)[1] == 20.0
    assert ranges.of("past_value_0_in", 4, symmetric=True)[1] < 15


@pytest.mark.parametrize("settings", [PERCENTILE, MSE], ids=["percentile", "mse"])
def test_the_order_of_threads_changes_nothing(structure: Structure, settings: ActivationRanges) -> None:
    values = list(drawn(24, 1, 50, 64))
    one, other = Ranges(structure, settings), Ranges(structure, settings)
    for value in values:
        one.tap(NORM, value)
    with ThreadPoolExecutor(4) as pool:
        list(pool.map(lambda value: other.tap(NORM, value), reversed(values)))
    assert one.of(NORM, 8) == other.of(NORM, 8)


@pytest.mark.parametrize("settings", [ActivationRanges(), PERCENTILE, MSE], ids=["minmax", "percentile", "mse"])
def test_a_state_goes_on_where_it_was_taken(structure: Structure, settings: ActivationRanges, tmp_path: Path) -> None:
    scores = 40 * drawn(2, 2, 20, 20)
    whole, before, after = (Ranges(structure, settings) for _ in range(3))
    for ranges in (whole, before):
        ranges.tap(NORM, drawn(1, 50, 64))
        ranges.tap(SCORES, scores)
    np.savez(tmp_path / "state.npz", **{name.replace("/", "|"): part for name, part in before.state().items()})
    with np.load(tmp_path / "state.npz") as saved:
        after.restore({name.replace("|", "/"): saved[name] for name in saved})
    for ranges in (whole, after):
        ranges.tap(NORM, 1.5 * drawn(1, 50, 64))
    assert after.excess == whole.excess > 0
    for name in (NORM, SCORES):
        assert after.of(name, 8) == whole.of(name, 8)


@pytest.mark.parametrize("settings", [ActivationRanges(), PERCENTILE, MSE], ids=["minmax", "percentile", "mse"])
@pytest.mark.parametrize(("bad", "word"), [(float("nan"), "NaN"), (float("-inf"), "infinity")])
def test_nan_and_infinity_name_the_tensor(
    structure: Structure, settings: ActivationRanges, bad: float, word: str
) -> None:
    value = drawn(1, 4, 64)
    value[0, 2, 5] = bad
    with pytest.raises(QuantizationError) as error:
        Ranges(structure, settings).tap("layers.1.mlp.down", value)
    assert str(error.value).startswith(f"layers.1.mlp.down: the model computes {word} in decoder layer 1\n")


@pytest.mark.parametrize("settings", [PERCENTILE, MSE], ids=["percentile", "mse"])
def test_encodings_stay_tied_and_complete(tmp_path: Path, settings: ActivationRanges) -> None:
    parameters = tiny_parameters(tmp_path, "qwen2")
    config, structure = parameters.config, Structure(parameters.config)
    ranges = Ranges(structure, settings)
    with one_thread_each(2) as pool:
        calibration = Calibration(parameters, TOKENS, ranges.tap, pool)
        table = EmbeddingSearch(config.vocab_size)
        calibration.embed(table.add)
        for layer in range(config.num_layers):
            calibration.block(layer)
        calibration.head(lambda start, columns: None, {0: slice(0, 1)})
    encodings = activation_encodings(
        config, structure, ranges, table.encoding(8), mask_floor=-50.0, act_bitwidth=16, kv_bitwidth=8, branches={}
    )
    assert list(encodings) == structure.tensors
    for name, encoding in encodings.items():
        assert encoding.same_grid(encodings[structure.tied(name)]), name
    cached = encodings["past_key_1_in"]
    assert (cached.bitwidth, cached.symmetric, cached.offset.tolist()) == (8, True, [-128])


def test_a_percentile_without_its_method_is_refused() -> None:
    with pytest.raises(ValidationError, match="percentile: only used by the method percentile"):
        ActivationRanges(method="mse", percentile=99.9)
    assert ActivationRanges(kv_cache="percentile", percentile=99.9).method_of(cached=True) == "percentile"
    with pytest.raises(ValidationError, match="less than or equal to 100"):
        ActivationRanges(method="percentile", percentile=120)
