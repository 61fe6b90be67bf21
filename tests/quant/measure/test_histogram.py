from __future__ import annotations

import numpy as np
import torch

from qairt.quant.measure.histogram import BINS, PER_BINADE, count, edges

VALUES = torch.randn(3, 400, generator=torch.Generator().manual_seed(0)) * 7


def test_every_value_is_in_the_bin_of_its_size() -> None:
    counts, limits = count(VALUES).numpy(), edges()
    for sign, side in ((1, counts[0]), (-1, counts[1])):
        sizes = (sign * VALUES[sign * VALUES > 0]).double().numpy()
        np.testing.assert_array_equal(side, np.histogram(sizes, limits)[0])


def test_bins_are_a_64th_of_a_power_of_two() -> None:
    limits = edges()
    assert len(limits) == BINS + 1
    assert np.diff(limits).min() > 0
    assert limits[0] == 0
    ratios = limits[2:] / limits[1:-1]
    assert ratios.max() <= 1 + 1 / PER_BINADE


def test_parts_in_any_order_add_up_to_the_whole() -> None:
    parts = [count(part) for part in VALUES.T[torch.randperm(400)].split(37)]
    assert torch.equal(torch.stack(parts).sum(0), count(VALUES))
    assert torch.equal(count(VALUES) - count(VALUES[1]), count(VALUES[[0, 2]]))


def test_zeros_and_values_beyond_all_bins() -> None:
    counts = count(torch.tensor([0.0, -0.0, 1e-30, -1e-30, 3e38, -3e38]))
    assert counts[:, 0].tolist() == [2, 2]
    assert counts[:, -1].tolist() == [1, 1]
    assert int(counts.sum()) == 6


def test_a_view_with_gaps() -> None:
    assert torch.equal(count(VALUES[:, ::2]), count(VALUES[:, ::2].contiguous()))
    assert int(count(VALUES[:, :0]).sum()) == 0
