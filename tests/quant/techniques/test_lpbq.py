from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import torch
from torch import Tensor

from qairt.errors import QuantizationError
from qairt.quant.config import TechniqueConfig
from qairt.quant.encodings import SMALLEST_SCALE, Encoding
from qairt.quant.techniques import technique
from qairt.quant.techniques.lpbq import Lpbq
from qairt.quant.techniques.lpbq_grid import best_scales, weight_cost
from qairt.quant.techniques.minmax import MinMax, largest_weight_encoding
from qairt.quant.threads import one_thread_each


def weights(inputs: int = 128, outputs: int = 24, seed: int = 0) -> Tensor:
    """Heavy-tailed, as trained weights are."""
    return torch.from_numpy(np.random.default_rng(seed).standard_t(4, (inputs, outputs)).astype(np.float32))


def error(weight: Tensor, encoding: Encoding, energy: Tensor | None = None) -> float:
    squares = np.square(encoding.nearest(weight.numpy()) - weight.numpy())
    return float((squares if energy is None else squares * energy.numpy()[:, None]).sum())


def encode(weight: Tensor, energy: Tensor | None = None, **settings: object) -> Encoding:
    config = TechniqueConfig.model_validate({"technique": "lpbq", "block_size": 32, "scale_search": "mse"} | settings)
    with ThreadPoolExecutor(1) as pool:
        return technique(config).choose("w", weight, energy=energy, gram=None, pool=pool).encoding


def test_the_registry() -> None:
    assert isinstance(technique(TechniqueConfig(technique="lpbq")), Lpbq)
    assert isinstance(technique(TechniqueConfig(technique="minmax")), MinMax)


@pytest.mark.parametrize(
    ("settings", "needs"),
    [
        ({"technique": "minmax"}, "weights"),
        ({"technique": "lpbq", "scale_search": "rtn"}, "weights"),
        ({"technique": "lpbq", "scale_search": "mse", "importance": "none"}, "weights"),
        ({"technique": "lpbq", "scale_search": "mse"}, "energy"),
        ({"technique": "lpbq", "scale_search": "seqmse"}, "inputs"),
        ({"technique": "lpbq", "scale_search": "rtn", "rounding": "gptq"}, "inputs"),
    ],
)
def test_what_a_technique_looks_at(settings: dict[str, str], needs: str) -> None:
    assert technique(TechniqueConfig.model_validate(settings)).needs == needs


@pytest.mark.parametrize("search", ["rtn", "mse"])
def test_scales_are_on_the_lpbq_grid(search: str) -> None:
    encoding = encode(weights(), scale_search=search)
    assert encoding.blocks is not None
    assert (encoding.bitwidth, encoding.axis, encoding.symmetric) == (4, 1, True)
    assert encoding.offset.tolist() == [-8] * 24
    assert encoding.scale.dtype == np.float32
    assert encoding.blocks.int_scale.dtype == np.uint8
    assert encoding.blocks.int_scale.shape == (4, 24)
    assert encoding.blocks.int_scale.min() >= 1
    assert encoding.blocks.int_scale.max() == 16
    encoding.check_shape((128, 24))


def test_round_to_nearest_takes_the_largest_weight() -> None:
    weight = torch.zeros(64, 1)
    weight[3], weight[40] = 7.0, -2.0
    encoding = encode(weight, scale_search="rtn")
    assert encoding.blocks is not None
    # The first block wants 7/7, the second 2/8; a 16th of the larger is the channel's.
    assert encoding.scale.tolist() == [1 / 16]
    assert encoding.blocks.int_scale[:, 0].tolist() == [16, 4]
    assert encoding.nearest(weight.numpy())[[3, 40], 0].tolist() == [7.0, -2.0]


def test_the_search_is_better_than_rounding_to_nearest() -> None:
    weight = weights()
    assert error(weight, encode(weight, importance="none")) < 0.95 * error(weight, encode(weight, scale_search="rtn"))


def test_errors_count_by_the_energy_of_their_input() -> None:
    weight = weights()
    energy = torch.from_numpy(np.random.default_rng(1).lognormal(0, 2, 128).astype(np.float32))
    weighted, plain = encode(weight, energy), encode(weight)
    assert error(weight, weighted, energy) < 0.95 * error(weight, plain, energy)
    assert error(weight, weighted) > error(weight, plain)


def test_the_integers_are_the_best_there_are_for_their_channel_scale() -> None:
    """Against all 16, in a small weight: the search looks only at two, and may miss by a hair."""
    weight = weights(outputs=8)
    with one_thread_each(2) as pool:
        channel, integers = best_scales(weight, 32, 40, weight_cost(None, 32), pool)
    blocks = weight.reshape(4, 32, 8)

    def errors(integer: Tensor) -> Tensor:
        scale = (integer * channel)[:, None]
        return (((blocks / scale).round().clamp(-8, 7) * scale - blocks) ** 2).sum(1)

    found = errors(integers).sum()
    best = torch.stack([errors(torch.full((4, 8), float(integer))) for integer in range(1, 17)]).amin(0).sum()
    assert found <= 1.02 * best


def test_channels_looked_at_together_do_not_change_the_result(monkeypatch: pytest.MonkeyPatch) -> None:
    whole = encode(weights())
    monkeypatch.setattr("qairt.quant.techniques.lpbq_grid.COLUMNS", 3)
    assert whole.same_grid(encode(weights()))


@pytest.mark.parametrize("search", ["rtn", "mse"])
def test_a_dead_channel_and_a_dead_block(search: str) -> None:
    weight = weights()
    weight[:, 5] = 0
    weight[32:64, 7] = 0
    encoding = encode(weight, scale_search=search)
    assert encoding.blocks is not None
    assert encoding.scale[5] == np.float32(SMALLEST_SCALE)
    assert encoding.blocks.int_scale[1, 7] == 1
    nearest = encoding.nearest(weight.numpy())
    assert not nearest[:, 5].any()
    assert not nearest[32:64, 7].any()


def test_a_width_that_is_no_multiple_of_the_block() -> None:
    with pytest.raises(QuantizationError) as raised:
        encode(weights(inputs=96), block_size=64)
    assert str(raised.value) == (
        "w: block_size 64 does not divide its input width 96\n  use a block size that does, or the minmax technique"
    )


def test_minmax_takes_the_largest_of_each_channel() -> None:
    encoding = largest_weight_encoding(torch.tensor([[0.5, -1.27], [-2.54, 0.1]]), 8)
    assert encoding.scale.tolist() == np.array([2.54 / 127, 1.27 / 127], np.float32).tolist()
    assert (encoding.axis, encoding.bitwidth, encoding.symmetric) == (1, 8, True)
