from __future__ import annotations

import numpy as np
import torch

from qairt.quant.encodings import Encoding, range_encoding
from qairt.quant.techniques.minmax import largest_weight_encoding
from qairt.quant.weights import EmbeddingSearch, HeadSearch, bias_encoding, norm_encoding


def embedding_encoding(table: torch.Tensor, bitwidth: int, at_once: int = 1000) -> Encoding:
    search = EmbeddingSearch(len(table))
    for start in range(0, len(table), at_once):
        search.add(start, table[start : start + at_once])
    return search.encoding(bitwidth)


def test_how_much_is_seen_at_once_does_not_matter() -> None:
    table = torch.from_numpy(np.random.default_rng(0).normal(0, 0.1, (20_000, 8)).astype(np.float32))
    assert embedding_encoding(table, 8, 1001).same_grid(embedding_encoding(table, 8, 20_000))
    head = HeadSearch(8)
    for start in range(0, 20_000, 777):
        head.add(start, table.T[:, start : start + 777])
    assert head.encoding().same_grid(largest_weight_encoding(table.T, 8))


def test_the_embedding_is_clipped_where_that_costs_less() -> None:
    table = torch.from_numpy(np.random.default_rng(0).normal(0, 0.1, (500, 64)).astype(np.float32))
    table[3, 5] = 10.0
    encoding = embedding_encoding(table, 8)
    assert (encoding.axis, encoding.symmetric, encoding.offset.tolist()) == (None, True, [-128])
    unclipped = range_encoding(-10.0, 10.0, 8, symmetric=True)
    errors = [np.square(grid.nearest(table.numpy()) - table.numpy()).sum() for grid in (encoding, unclipped)]
    assert errors[0] < 0.95 * errors[1]

    whole = torch.linspace(-1, 1, 1280).reshape(20, 64)
    np.testing.assert_allclose(embedding_encoding(whole, 8).scale, [1 / 127], rtol=0.03)


def test_norms_are_asymmetric_and_hold_their_ends() -> None:
    weight = torch.tensor([0.5, 1.5, 3.0])
    encoding = norm_encoding(weight, 16)
    assert (encoding.bitwidth, encoding.symmetric, encoding.offset.tolist()) == (16, False, [0])
    np.testing.assert_allclose(encoding.nearest(weight.numpy()), weight, atol=1e-4)


def test_biases_have_32_bits() -> None:
    bias = torch.tensor([-30.0, 0.001, 20.0])
    encoding = bias_encoding(bias)
    assert (encoding.bitwidth, encoding.symmetric) == (32, True)
    np.testing.assert_allclose(encoding.nearest(bias.numpy()), bias, rtol=1e-4)
