from __future__ import annotations

from pathlib import Path

import torch
from tiny_parameters import tiny_parameters

from qairt.quant.measure.energy import SMALLEST_SHARE, InputEnergy
from qairt.quant.structure import Structure

NAME, WEIGHT = "layers.0.mlp.norm", "model.layers.0.mlp.gate_proj.weight"


def energy(tmp_path: Path, *values: torch.Tensor) -> InputEnergy:
    measured = InputEnergy(Structure(tiny_parameters(tmp_path).config))
    for value in values:
        measured.tap(NAME, value)
    return measured


def test_every_token_counts_the_same(tmp_path: Path) -> None:
    value = torch.zeros(1, 3, 64)
    value[0, 0, 0] = 1000.0  # a first token with a huge value
    value[0, 1, 1], value[0, 2, 1] = 1.0, 2.0
    share = energy(tmp_path, value).of(WEIGHT)
    assert share[0] == 64 / 3
    assert share[1] == 128 / 3
    assert share[2:].tolist() == [torch.tensor(SMALLEST_SHARE)] * 62


def test_the_order_of_segments_does_not_matter(tmp_path: Path) -> None:
    pieces = [torch.randn(1, 5, 64, generator=torch.Generator().manual_seed(seed)) for seed in range(5)]
    forward, backward = energy(tmp_path, *pieces).of(WEIGHT), energy(tmp_path, *pieces[::-1]).of(WEIGHT)
    assert torch.equal(forward, backward)


def test_nothing_but_zeros(tmp_path: Path) -> None:
    assert energy(tmp_path, torch.zeros(1, 3, 64)).of(WEIGHT).tolist() == [1.0] * 64
