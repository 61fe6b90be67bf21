"""The decoder forward and back over chunks of text, with one block's weights in memory.

What enters each block stays in memory: layers * tokens * hidden size * 4 bytes.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Executor
from functools import partial
from typing import TypeVar

from torch import Tensor

from qairt.model.torch_ops import TorchOps

T = TypeVar("T")

HEAD_TOKENS = 128
"""Tokens that go through the head at once, because it may be far wider than a block."""

Forward = Callable[[int, Tensor], Tensor]
"""A layer and a chunk's hidden state [1, tokens, hidden] -> the layer's output."""
Backward = Callable[[Tensor, Tensor], tuple[Tensor, T]]
"""A chunk's hidden state as it enters a layer and the loss's gradient at the output -> the gradient at the input, and
what else was found."""


def run_forward(ops: TorchOps, hidden: Sequence[Tensor], forward: Forward, pool: Executor) -> list[list[Tensor]]:
    """The input of each block by chunk, and the output of the last.

    Args:
        ops: holds the weights of the block that is running.
        hidden: the first block's input by chunk.
        forward: called on any thread.
    """
    return [list(hidden), *outputs_of_blocks(ops, hidden, forward, pool)]


def outputs_of_blocks(
    ops: TorchOps, hidden: Sequence[Tensor], forward: Forward, pool: Executor
) -> Iterator[list[Tensor]]:
    """The output of each block by chunk, one after the other; arguments as for `run_forward`."""
    for layer in range(ops.parameters.config.num_layers):
        ops.hold(ops.parameters.names_beside_experts(layer))
        hidden = list(pool.map(partial(forward, layer), hidden))
        yield hidden


def run_backward(
    ops: TorchOps,
    entering: list[list[Tensor]],
    gradients: Sequence[Tensor],
    backward_of: Callable[[int], Backward[T]],
    pool: Executor,
) -> Iterator[tuple[int, list[T]]]:
    """Every layer, from the last to the first, with what its backward pass found by chunk.

    Args:
        entering: the input of each block by chunk; emptied on the way.
        gradients: of the loss at the last block's output, by chunk.
        backward_of: called with a layer once its weights are held; what it returns is called on any thread.
    """
    for layer in reversed(range(ops.parameters.config.num_layers)):
        ops.hold(ops.parameters.names_beside_experts(layer))
        results = list(pool.map(backward_of(layer), entering.pop(), gradients))
        gradients = [gradient for gradient, _ in results]
        yield layer, [found for _, found in results]
