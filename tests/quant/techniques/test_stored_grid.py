"""Weights that already lie on a 4-bit grid: it is found, and nearly all integers are kept."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import torch
from torch import Tensor

from qairt.quant.config import TechniqueConfig
from qairt.quant.encodings import Encoding
from qairt.quant.techniques import technique
from qairt.quant.techniques.lpbq_grid import best_scales, nearest, weight_cost
from qairt.quant.techniques.stored_grid import fitted_scales, stored_scales

IN, OUT = 256, 160


def checkpoint(group: int, dtype: torch.dtype = torch.float32, offset: int = 0, top: int = 7) -> tuple[Tensor, Tensor]:
    """Integers [in, out] and half-precision scales [groups, out], by GPTQ's symmetric rule."""
    weight = torch.from_numpy(np.random.default_rng(0).standard_t(4, (IN, OUT)).astype(np.float32)) * 0.02
    blocks = weight.reshape(-1, group, OUT)
    scales = (2 * blocks.abs().amax(1) / (2 * top + 1)).half().float()
    integers = (blocks / scales[:, None]).round().clamp(-top - 1, top).reshape(IN, OUT) + offset
    return integers, scales


def stands_for(integers: Tensor, scales: Tensor, dtype: torch.dtype = torch.float32) -> Tensor:
    return (integers * scales.repeat_interleave(IN // len(scales), 0)).to(dtype).float()


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16])
@pytest.mark.parametrize(("group", "block"), [(32, 32), (64, 64), (128, 64), (256, 32)])
def test_the_scales_are_found(group: int, block: int, dtype: torch.dtype):
    integers, scales = checkpoint(group)
    found = stored_scales(stands_for(integers, scales, dtype), block)
    assert found is not None
    steps = scales.repeat_interleave(group // block, 0) / found
    # A block that reaches few of its group's integers may lie on finer steps too.
    assert float(((steps - steps.round()).abs() < 0.02).float().mean()) > 0.99
    if group == block:
        assert float(((steps - 1).abs() < 0.01).float().mean()) > 0.99


def test_zeros_have_no_scale():
    integers, scales = checkpoint(64)
    integers[64:128, 3] = 0
    found = stored_scales(stands_for(integers, scales), 64)
    assert found is not None
    assert float(found[1, 3]) == 0
    channel, blocks = fitted_scales(stands_for(integers, scales), found)
    assert torch.isfinite(channel).all()
    assert 1 <= float(blocks.min()) <= float(blocks.max()) <= 16


def test_other_weights_have_none():
    float_weights = torch.from_numpy(np.random.default_rng(1).standard_t(4, (IN, OUT)).astype(np.float32))
    integers, scales = checkpoint(32)
    eight, fine = checkpoint(64, top=127)
    shifted, _ = checkpoint(64, offset=5)
    assert stored_scales(float_weights, 64) is None
    assert stored_scales(stands_for(integers, scales), 64) is None, "its groups are smaller than the blocks"
    assert stored_scales(stands_for(eight, fine), 64) is None, "8 bits"
    assert stored_scales(stands_for(shifted, checkpoint(64)[1]), 64) is None, "asymmetric"


@pytest.mark.parametrize("group", [32, 64])
def test_integers_are_kept_and_the_error_is_less_than_a_searchs(group: int):
    integers, scales = checkpoint(group)
    weight = stands_for(integers, scales)
    config = TechniqueConfig(technique="lpbq", block_size=group, scale_search="mse", importance="none")
    with ThreadPoolExecutor(1) as pool:
        encoding: Encoding = technique(config).choose("w", weight, energy=None, gram=None, pool=pool).encoding
        channel, blocks = best_scales(weight, group, 20, weight_cost(None, group), pool)
    values = torch.from_numpy(encoding.nearest(weight.numpy()))
    assert encoding.blocks is not None
    step = torch.from_numpy(encoding.blocks.int_scale.astype(np.float32)) * torch.from_numpy(encoding.scale)
    kept = (values / step.repeat_interleave(group, 0)).round() == integers
    assert float(kept.float().mean()) > 0.99
    searched = nearest(weight, (blocks * channel).repeat_interleave(group, 0))
    error, before = (float((each - weight).square().sum()) for each in (values, searched))
    assert error < 0.5 * before


def test_values_that_are_learned_get_searched_scales():
    """They leave their integers anyway."""
    from qairt.quant.measure.gram import Gram

    weight = stands_for(*checkpoint(64))
    inputs = torch.from_numpy(np.random.default_rng(2).standard_normal((512, IN)).astype(np.float32))
    config = {"technique": "lpbq", "block_size": 64, "scale_search": "mse", "importance": "none", "rounding": "learned"}
    with ThreadPoolExecutor(1) as pool:
        gram = Gram([inputs], [inputs], pool, damping=0.01)
        chosen = technique(TechniqueConfig.model_validate(config)).choose(
            "w", weight, energy=None, gram=gram, pool=pool
        )
        channel, _ = best_scales(gram.target(weight), 64, 20, weight_cost(None, 64), pool)
    assert np.allclose(chosen.encoding.scale, channel.numpy())
