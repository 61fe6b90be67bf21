"""The text that every rung runs on: token ids, and the float model's tensors for them at every cut."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from qairt.model.call_inputs import call_inputs
from qairt.model.config import DecoderConfig
from qairt.model.kept import kept_slots
from qairt.model.names import PAST, POOLED, is_branch_input, token_axis
from qairt.quant.measure.reference_vectors import ReferenceVectors
from qairt.runtime.stored import Array, Floats
from qairt.verify.measure import rows
from qairt.verify.result import LOGITS

LogitsOf = Callable[[int, int], Floats]
"""(start, stop) -> the float model's logits [stop - start, vocab] for those tokens of the text."""


@dataclass(frozen=True)
class GraphCall:
    """One run of a graph: `new` tokens, right-aligned in its `ar` rows, after `past` earlier tokens."""

    ar: int
    past: int
    new: int


def plan_calls(tokens: int, ars: Sequence[int], cl: int, *, decoded: int) -> list[GraphCall]:
    """How a runtime reads `tokens` tokens: by the largest AR, the last `decoded` of them by the smallest.

    A call of AR sees CL - AR past tokens, so near the end of the context only small ARs fit.
    """
    calls: list[GraphCall] = []
    past = 0
    tail = min(decoded, tokens - 1) if min(ars) < max(ars) else 0
    while past < tokens:
        left = tokens - tail - past
        if left > 0:
            possible = [ar for ar in ars if past <= cl - ar]
            ar = min((ar for ar in possible if ar >= left), default=max(possible, default=min(ars)))
        else:
            ar, left = min(ars), tokens - past
        if past > cl - ar:
            break
        calls.append(GraphCall(ar, past, min(ar, left)))
        past += calls[-1].new
    return calls


class ReferenceText:
    """One sequence of tokens from position 0, and what the float model computes for it."""

    def __init__(
        self,
        vectors: ReferenceVectors,
        config: DecoderConfig,
        *,
        mask_floor: float,
        logits: LogitsOf,
        branches: Mapping[str, Floats] | None = None,
    ) -> None:
        """
        Args:
            vectors: the float model's tensors, from the stage `quantization`.
            mask_floor: the mask's value for a slot that must not be attended to.
            logits: the float model's; `vectors` holds only the last ones.
            branches: the inputs of the LoRA branches that it was computed with, by name; None for the base.
        """
        self.vectors = vectors
        self.config = config
        self.mask_floor = mask_floor
        self._logits_of = logits
        self._branches = branches or {}
        self._logits: dict[tuple[int, int], Floats] = {}

    @property
    def length(self) -> int:
        return self.vectors.length

    def isolated_call(self, ar: int, cl: int) -> GraphCall:
        """The call with the inputs of `split_model`'s test vectors: the last tokens that fit."""
        length = min(self.length, cl)
        new = min(ar, length)
        return GraphCall(ar, length - new, new)

    def truth(self, output: str, call: GraphCall) -> Floats:
        """The float model's output for the call's tokens, [tokens, values]."""
        start, stop = call.past, call.past + call.new
        if output == LOGITS:
            if (start, stop) not in self._logits:
                self._logits = {(start, stop): self._logits_of(start, stop)}
            return self._logits[start, stop]
        if output == POOLED:
            return rows(output, self.vectors.values(output), 1)
        values = self.vectors.values(output).take(np.arange(start, stop), token_axis(output))
        return rows(output, values, call.new)

    def runtime_inputs(self, call: GraphCall, cl: int) -> dict[str, Array]:
        """The inputs that a runtime computes: token ids, mask and positions."""
        ids = self.vectors.tensors["input_ids"][None, call.past : call.past + call.new]
        others = call_inputs(
            self.config,
            ar=call.ar,
            cl=cl,
            past=call.past,
            new=call.new,
            floor=self.mask_floor,
            length=self.length,
        )
        return {"input_ids": _left_padded(ids, call.ar, 1), **others}

    def branches_of(self, inputs: Mapping[str, tuple[int, ...]]) -> dict[str, Array]:
        """The inputs of a graph's LoRA branches: zeros for the base.

        Args:
            inputs: the graph's, with their shapes.
        """
        names = {name: shape for name, shape in inputs.items() if is_branch_input(name)}
        return {name: self._branches.get(name, np.zeros(shape, np.float32)) for name, shape in names.items()}

    def entering(self, name: str, call: GraphCall) -> dict[str, Array]:
        """The float model's hidden state that a part reads as `name`."""
        return {name: _left_padded(self.vectors.tensors[name][:, call.past : call.past + call.new], call.ar, 1)}

    def past(self, name: str, call: GraphCall, cl: int) -> Array:
        """The float model's keys or values of the past tokens, as the input `name`."""
        output = name.removesuffix("_in") + "_out"
        return past_slots(name, self.vectors.tensors[output], self.slots(name, call, cl), call)

    def slots(self, name: str, call: GraphCall, cl: int) -> int:
        """Past tokens that the input `name` has room for; a whole graph's shapes do not say it."""
        match = PAST.match(name)
        assert match is not None
        return kept_slots(self.config, int(match[2]), call.ar, cl)


class PartCache:
    """KV cache of one part: its keys and values of the calls so far."""

    def __init__(self) -> None:
        self._values: dict[str, Floats] = {}

    def past(self, name: str, shape: Sequence[int], slots: int, call: GraphCall) -> Array:
        """The input `name`, with so many slots. Before the first call it is all padding, of `shape` but for them."""
        values = self._values.get(name.removesuffix("_in") + "_out")
        if values is None:
            empty = list(shape)
            empty[token_axis(name)] = 0
            values = np.zeros(empty, np.float32)
        return past_slots(name, values, slots, call)

    def append(self, outputs: Mapping[str, Floats], new: int) -> None:
        """Add the `new` rightmost tokens of each key and value."""
        for name, values in outputs.items():
            if PAST.match(name):
                axis = token_axis(name)
                fresh = values.take(np.arange(values.shape[axis] - new, values.shape[axis]), axis)
                earlier = self._values.get(name)
                self._values[name] = fresh if earlier is None else np.concatenate((earlier, fresh), axis)


def past_slots(name: str, values: Array, slots: int, call: GraphCall) -> Array:
    """The newest of `call.past` tokens that there are slots for, padded on the left."""
    axis = token_axis(name)
    taken = values.take(np.arange(max(call.past - slots, 0), call.past), axis)
    return _left_padded(taken, slots, axis)


def _left_padded(values: Array, length: int, axis: int) -> Array:
    missing = [(length - values.shape[axis] if each == axis else 0, 0) for each in range(values.ndim)]
    return np.ascontiguousarray(np.pad(values, missing))
