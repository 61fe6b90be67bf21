"""Columns of a weight are independent: how many are computed together changes no value."""

from __future__ import annotations

import pytest
import torch

from qairt.quant.measure.gram import Gram
from qairt.quant.techniques import compensation, lpbq_grid
from qairt.quant.techniques.compensation import compensated
from qairt.quant.techniques.lpbq_grid import best_scales, slices_of_columns, weight_cost
from qairt.quant.threads import one_thread_each


def test_slices_are_wide_on_a_gpu() -> None:
    assert slices_of_columns(torch.empty(8, 300), 128) == [slice(0, 128), slice(128, 256), slice(256, 384)]
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
