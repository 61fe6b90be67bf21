"""The experts of a layer, one after the other, each on the tokens that it is given in all segments of text."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import torch
from torch import Tensor

from qairt.model.torch_ops import tokens_of
from qairt.quant.measure.deferred import Deferred, Segment, Values


class ExpertSteps:
    """What each expert reads, and the sum of what they compute.

    A token that either stream gives to an expert is an input of it in both, so that the inputs of its linears there are
    the same tokens. In the stream that gives it to others, its weight is about 0.
    """

    def __init__(
        self, segments: Sequence[Segment], inputs: Sequence[Tensor], choices: Sequence[Tensor], shares: Sequence[Tensor]
    ) -> None:
        """
        Args:
            inputs: by segment, [1, tokens, hidden].
            choices: by segment, [1, tokens, experts], positive where a token is given to an expert.
            shares: by segment, the experts' weights, of the same shape.
        """
        self._segments = segments
        self._inputs = inputs
        self._shares = shares
        given: dict[tuple[int, int], Tensor] = {}
        self._places = [(segment.chunk, segment.start) for segment in segments]
        for place, choice in zip(self._places, choices, strict=True):
            given[place] = choice if place not in given else given[place].maximum(choice)
        self._given = given
        self._totals = [torch.zeros_like(value) for value in inputs]

    @property
    def totals(self) -> Values:
        """The sums by segment."""
        return [Deferred.known(total) for total in self._totals]

    def of(self, expert: int) -> tuple[list[Segment], Values, Values] | None:
        """The segments that begin at the first token which an expert is given in each, its tokens there
        [1, some, hidden], and its weights [1, some, 1]; None if it is given none."""
        segments: list[Segment] = []
        inputs: Values = []
        shares: Values = []
        for number, tokens in self._tokens(expert):
            segment = self._segments[number]
            segments.append(replace(segment, start=segment.start + int(tokens[0])))
            inputs.append(Deferred.known(self._inputs[number][:, tokens]))
            shares.append(Deferred.known(self._shares[number][:, tokens, expert : expert + 1]))
        return (segments, inputs, shares) if segments else None

    def add(self, expert: int, products: Sequence[Tensor]) -> None:
        """Add what it computes for the tokens of `of`."""
        for (number, tokens), product in zip(self._tokens(expert), products, strict=True):
            self._totals[number].index_add_(1, tokens, product)

    def _tokens(self, expert: int) -> list[tuple[int, Tensor]]:
        """The numbers of the segments in which it is given any, and which."""
        found = {place: tokens_of(choice, expert) for place, choice in self._given.items()}
        return [(number, found[place]) for number, place in enumerate(self._places) if len(found[place])]
