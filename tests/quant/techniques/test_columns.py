"""Columns of a weight are independent: how many are computed together changes no value."""

from __future__ import annotations

import pytest
import torch

from qairt.quant.columns import slices_of_columns
from qairt.quant.measure.gram import Gram
from qairt.quant.techniques import compensation, lpbq_grid
from qairt.quant.techniques.compensation import compensated
from qairt.quant.techniques.lpbq_grid import best_scales, weight_cost
from qairt.quant.threads import one_thread_each


@pytest.mark.parametrize("width", [16, 192, 576, 1536, 2560, 11008])
def test_slices_are_equal_for_two_threads(width: int) -> None:
    slices = slices_of_columns(torch.empty(8, width), 512)
    assert len(slices) % 2 == 0 or width < 32
    assert [part.start for part in slices[1:]] == [part.stop for part in slices[:-1]]
    sizes = [min(part.stop, width) - part.start for part in slices]
    assert sum(sizes) == width
    assert max(sizes) <= 512
    assert max(sizes) - min(sizes) < 16 * len(slices)


def test_slices_are_wide_on_a_gpu() -> None:
    assert slices_of_columns(torch.empty(8, 300), 128) == [slice(at, at + 80) for at in (0, 80, 160, 240)]
    assert slices_of_columns(torch.empty(8, 5000, device="meta"), 128) == [slice(0, 4096), slice(4096, 8192)]


def test_scales_and_rounding_are_the_same_in_any_slices(monkeypatch: pytest.MonkeyPatch) -> None:
    generator = torch.Generator().manual_seed(0)
    weight, inputs = torch.randn(64, 40, generator=generator), [torch.randn(50, 64, generator=generator)]
    found = []
    for columns in (7, 512):
        monkeypatch.setattr(lpbq_grid, "COLUMNS", columns)
        monkeypatch.setattr(compensation, "COLUMNS", columns)
        with one_thread_each(2) as pool:
            channel, integers = best_scales(weight, 32, 8, weight_cost(None, 32), pool)
            scale = (channel * integers).repeat_interleave(32, 0)
            rounded = compensated(weight, scale, Gram(inputs, inputs, pool), pool, passes=2)
        found.append((channel, integers, rounded))
    for one, other in zip(*found, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-5, atol=1e-6)
