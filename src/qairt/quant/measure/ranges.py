"""The range of every tensor over the calibration text.

1. A range contains 0, and never more than the values seen.
2. With minmax that is all; other methods (`qairt.quant.measure.activation_ranges`) may clip rare values.
3. The first token of a sequence is treated separately. Models put their largest values there and all other tokens
   attend to it, so it must neither be clipped (clipping by 30 % costs 5 % of perplexity) nor influence the statistics
   of the others. Its extremes are kept, and its values are in no histogram. In the scores it is a row (as the query)
   and a column (as the key).
"""

from __future__ import annotations

from collections.abc import Mapping
from math import isfinite
from threading import Lock, local

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from qairt.errors import QuantizationError
from qairt.model.names import split_expert
from qairt.quant.measure.activation_ranges import ActivationRanges
from qairt.quant.measure.histogram import BINS, count
from qairt.quant.measure.range_choice import Counts, Range, least_squares_range, percentile_range
from qairt.quant.structure import Structure

WIDE_SCORES = 30.0
"""Any usual floor masks scores whose range is smaller than this."""


class Ranges:
    """Running ranges, one for all tensors that share an encoding. `tap` may be called from several threads; the result
    does not depend on their order."""

    def __init__(self, structure: Structure, settings: ActivationRanges = ActivationRanges()) -> None:  # noqa: B008 - frozen
        self._structure = structure
        self.settings = settings
        self._measured = {name: structure.tied(name) for name in structure.measured}
        self._counted = {
            name
            for name, key in self._measured.items()
            if settings.method_of(cached=key in structure.cached) != "minmax"
        }
        self._seen: dict[str, Range] = {}
        self._first: dict[str, Range] = {}
        self._counts: dict[str, Tensor] = {}
        self._here = local()
        self._scores = set(structure.masked.values())
        self.excess = 0.0
        """The maximum by which a masked score exceeds all others of its row; the mask must be far lower."""
        self._lock = Lock()

    def begins_at(self, position: int) -> None:
        """The tensors that this thread taps from now on start at this position of their sequence; initially 0."""
        self._here.position = position

    def tap(self, name: str, value: Tensor) -> None:
        """Include a tensor's values, or those of one expert in a tensor of all.

        Raises:
            QuantizationError: they contain NaN or infinity; names the tensor.
        """
        name, expert = split_expert(name)
        if name not in self._measured:
            return
        if expert is not None:
            value = value.flatten(2)  # [1, tokens, 1, width] too
        low, high = (float(extreme) for extreme in value.aminmax())
        if not (isfinite(low) and isfinite(high)):
            raise QuantizationError(
                f"the model computes {'NaN' if low != low or high != high else 'infinity'} in {_part_of_model(name)}",
                where=name,
                remedy="check that `qairt generate --target torch` gives sensible text: if not, the checkpoint is "
                "damaged or its configuration is wrong",
            )
        key = self._measured[name]
        with self._lock:
            _widen(self._seen, key, low, high)
        if name in self._counted:
            self._count(name, key, value)
        if name in self._scores and high - low > WIDE_SCORES:
            excess = _excess(value, self._structure.windows[name])
            with self._lock:
                self.excess = max(self.excess, excess)

    def of(self, name: str, bitwidth: int, *, symmetric: bool = False) -> Range:
        """The range of `name` for such a grid, including 0.

        Raises:
            KeyError: no values were seen.
        """
        key = self._structure.tied(name)
        seen = self._seen[key]
        method = self.settings.method_of(cached=key in self._structure.cached)
        if method == "minmax":
            return seen
        counts: Counts = self._counts[key].numpy().astype(np.int64, copy=False)
        kept = self._first.get(key, (0.0, 0.0))
        if method == "percentile":
            return percentile_range(counts, self.settings.percentile, seen=seen, kept=kept, symmetric=symmetric)
        return least_squares_range(counts, bitwidth, seen=seen, kept=kept, symmetric=symmetric)

    def merge(self, other: Ranges) -> None:
        """Include what `other` measured, with the same structure and settings."""
        self.excess = max(self.excess, other.excess)
        for own, found in ((self._seen, other._seen), (self._first, other._first)):
            for key, limits in found.items():
                _widen(own, key, *limits)
        for key, counts in other._counts.items():
            self._counts[key] = self._counts[key] + counts if key in self._counts else counts.clone()

    def state(self) -> dict[str, NDArray[np.generic]]:
        """All measurements by name, for `restore`."""
        state: dict[str, NDArray[np.generic]] = {"excess": np.asarray(self.excess)}
        for kind, ranges in (("seen", self._seen), ("first", self._first)):
            state |= {f"{kind}/{key}": np.asarray(limits) for key, limits in ranges.items()}
        for key, counts in self._counts.items():
            flat = counts.numpy().reshape(-1)
            places = np.flatnonzero(flat)
            state[f"counts/{key}"] = np.stack((places, flat[places]))
        return state

    def restore(self, state: Mapping[str, NDArray[np.generic]]) -> None:
        """Replace all measurements by the `state` of ranges with the same structure and settings."""
        self.excess = float(state["excess"])
        found: dict[str, dict[str, NDArray[np.generic]]] = {"seen": {}, "first": {}, "counts": {}}
        for name, values in state.items():
            kind, _, key = name.partition("/")
            if key:
                found[kind][key] = values
        self._seen, self._first = (
            {key: (float(low), float(high)) for key, (low, high) in found[kind].items()} for kind in ("seen", "first")
        )
        self._counts = {}
        for key, (places, numbers) in found["counts"].items():
            counts = torch.zeros(2 * BINS, dtype=torch.int64)
            counts[torch.from_numpy(places)] = torch.from_numpy(numbers)
            self._counts[key] = counts.reshape(2, BINS)

    def _count(self, name: str, key: str, value: Tensor) -> None:
        counts = count(value)
        first = self._of_first_token(name, key, value)
        for part in first:
            counts -= count(part)
        extremes = [tuple(float(extreme) for extreme in part.aminmax()) for part in first if part.numel()]
        counts = counts.cpu()
        with self._lock:
            if key in self._counts:
                self._counts[key] += counts
            else:
                self._counts[key] = counts
            for low, high in extremes:
                _widen(self._first, key, low, high)

    def _of_first_token(self, name: str, key: str, value: Tensor) -> list[Tensor]:
        """Its values in a tensor, disjoint. Tokens are on the second-last axis; for transposed keys on the last."""
        begins = getattr(self._here, "position", 0) == 0
        if name in self._scores:
            column = value[..., :1]
            return [column, value[..., :1, 1:]] if begins else [column]
        if not begins:
            return []
        return [value[..., :1] if key.startswith("past_key_") else value[..., :1, :]]


def _widen(ranges: dict[str, Range], key: str, low: float, high: float) -> None:
    """Extend the range at `key`, initially 0, to these values."""
    before = ranges.get(key, (0.0, 0.0))
    ranges[key] = (min(low, before[0]), max(high, before[1]))


def _excess(scores: Tensor, window: int | None) -> float:
    """scores [KV, G, new, past + new]; a token attends to the past, itself and the tokens before it, in the window."""
    new = scores.shape[-2]
    past = scores.shape[-1] - new
    everything = torch.ones(new, past + new, dtype=torch.bool, device=scores.device)
    masked = everything.triu(past + 1)
    if window is not None:
        masked |= everything.tril(past - window)
    largest_visible = scores.masked_fill(masked, -torch.inf).amax(-1)
    largest_masked = scores.masked_fill(~masked, -torch.inf).amax(-1)
    return float((largest_masked - largest_visible).max())


def _part_of_model(name: str) -> str:
    if name.startswith("layers."):
        return f"decoder layer {name.split('.')[1]}"
    if name.startswith("hidden_"):
        layer = int(name.removeprefix("hidden_"))
        return f"decoder layer {layer - 1}" if layer else "the embedding"
    return "the head"
