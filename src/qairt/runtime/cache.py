"""The KV cache of a chain of parts: one for all ARs, in stored integers.

    slot     0 ……………………… past - length …………………… past - 1
             padding (zero)    oldest token … newest token

Left padding: the newest token is the rightmost. A new token shifts all others one slot to the left and drops the
leftmost slot, which is padding until the context is full.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import numpy as np

from qairt.errors import GenerationError, GraphError
from qairt.graph.session import Array
from qairt.graph.tensors import GraphSignature, TensorSpec
from qairt.model.names import PAST, is_key_or_value, token_axis

Grid = tuple[str, tuple[int | str, ...], float | None, int | None]
"""Dtype, shape with the token axis left open, scale, offset."""


class KVCache:
    """Keys [KV, 1, D, past] and values [KV, 1, past, D] of every layer; `past` is the largest of all graphs."""

    def __init__(self, signatures: Iterable[GraphSignature]) -> None:
        """An empty cache for graphs of one model; their ARs and context lengths may differ.

        Raises:
            GraphError: a tensor's dtype, shape or encoding differs between graphs, or between input and output.
        """
        self._specs = _agreed_specs(list(signatures))
        self._slots = {name: np.empty(spec.shape, spec.dtype) for name, spec in self._specs.items()}
        self.length = 0
        """Tokens in the cache."""
        self.reset()

    def reset(self) -> None:
        """Forget all tokens. Padding is the stored value of 0.0, so it is harmless even before masking."""
        for name, slots in self._slots.items():
            slots.fill(-(self._specs[name].offset or 0))
        self.length = 0

    def past(self, spec: TensorSpec) -> Array:
        """The value of the input `spec` of some AR: the newest CL - AR slots, C-contiguous.

        Valid until the next `append`.
        """
        slots, axis = self._slots[spec.name], token_axis(spec.name)
        surplus = slots.shape[axis] - spec.shape[axis]
        return np.ascontiguousarray(slots[:, :, :, surplus:] if axis == 3 else slots[:, :, surplus:])

    def append(self, present: Mapping[str, Array], count: int) -> None:
        """Append the `count` rightmost tokens of every `past_…_out` in `present` (the others are padding)."""
        for name, slots in self._slots.items():
            fresh = present[name.removesuffix("_in") + "_out"]
            if count < slots.shape[token_axis(name)]:
                _shift_left(slots, count, token_axis(name))
            if token_axis(name) == 3:
                slots[..., -count:] = fresh[..., -count:][..., -slots.shape[3] :]
            else:
                slots[:, :, -count:] = fresh[:, :, -count:][:, :, -slots.shape[2] :]
        self.length += count

    def usable(self, kept: Mapping[str, Array], count: int, held: int) -> int:
        """How many of the first `count` tokens of a state of `held` tokens can be put. Short convolutions, and windows
        that are full, keep the last tokens only, so that no beginning can be cut out."""
        whole = all(is_key_or_value(name) and each.shape[token_axis(name)] == held for name, each in kept.items())
        return count if count == held or whole else 0

    def kept(self) -> dict[str, Array]:
        """Copies of the slots that hold tokens: of a window, its last ones; of short convolutions, all.

        Raises:
            GenerationError: the oldest tokens are gone.
        """
        taken: dict[str, Array] = {}
        most = max(slots.shape[token_axis(name)] for name, slots in self._slots.items() if is_key_or_value(name))
        if self.length > most:
            raise GenerationError(
                f"the context is full: of its {self.length} tokens, the first are no longer in the cache",
                where="--save-state",
                remedy="lower --max-new-tokens, or shorten the prompt",
            )
        for name, slots in self._slots.items():
            axis = token_axis(name)
            if not is_key_or_value(name):
                taken[name] = slots.copy()
                continue
            first = max(slots.shape[axis] - self.length, 0)
            taken[name] = (slots[..., first:] if axis == 3 else slots[:, :, first:]).copy()
        return taken

    def put(self, kept: Mapping[str, Array], count: int) -> None:
        """Fill an empty cache with the first `count` tokens of what another's `kept` gave, as many as are `usable`.

        Raises:
            GraphError: a tensor is missing, or of another type or shape.
        """
        for name, slots in self._slots.items():
            axis, held = token_axis(name), kept.get(name)
            wanted = list(slots.shape)
            if held is not None and held.ndim == len(wanted) and is_key_or_value(name):
                wanted[axis] = max(held.shape[axis], min(count, slots.shape[axis]))
            if held is None or (held.dtype, list(held.shape)) != (slots.dtype, wanted):
                has = "missing" if held is None else f"{held.dtype} {list(held.shape)}"
                raise GraphError(f"the state's {name} is {has}, the graphs take {slots.dtype} {list(slots.shape)}")
            if not is_key_or_value(name):
                slots[...] = held if count else slots
                continue
            size, end = slots.shape[axis], min(count, held.shape[axis])
            first = max(end - size, 0)
            if axis == 3:
                slots[..., size - end + first :] = held[..., first:end]
            else:
                slots[:, :, size - end + first :] = held[:, :, first:end]
        self.length = count


def _shift_left(slots: Array, count: int, axis: int) -> None:
    # Rows are contiguous, so moving the whole block shifts every row; what spills over from the next row lands in the
    # `count` slots that are about to be overwritten.
    flat = slots.reshape(-1)
    step = count if axis == 3 else count * slots.shape[3]
    flat[:-step] = flat[step:]


def _agreed_specs(signatures: list[GraphSignature]) -> dict[str, TensorSpec]:
    """By input name, the spec with the most slots of all ARs; everything else about it must be equal."""
    specs: dict[str, TensorSpec] = {}
    seen: dict[str, Grid] = {}
    for signature in signatures:
        for spec in (*signature.inputs, *signature.outputs):
            if not PAST.match(spec.name):
                continue
            name = spec.name.removesuffix("_out").removesuffix("_in") + "_in"
            shape: list[int | str] = list(spec.shape)
            shape[token_axis(name)] = "tokens"
            grid = (spec.dtype, tuple(shape), spec.scale, spec.offset)
            if seen.setdefault(name, grid) != grid:
                raise GraphError(
                    f"{spec.name} is {_format(grid)} in {signature.name}, but {_format(seen[name])} in another graph",
                    where=signature.name,
                    remedy="all ARs, inputs and outputs share one KV cache: quantize with tied encodings",
                )
            if spec.name == name and (name not in specs or spec.shape[token_axis(name)] > _tokens(specs[name])):
                specs[name] = spec
    return specs


def _tokens(spec: TensorSpec) -> int:
    return spec.shape[token_axis(spec.name)]


def _format(grid: Grid) -> str:
    dtype, shape, scale, offset = grid
    text = f"{dtype} [{', '.join(map(str, shape))}]"
    return text if scale is None else f"{text} with scale {scale} and offset {offset}"
