"""A decoder block over many segments of text at once, linear by linear.

`LockstepOps` runs `qairt.model.decoder` on lists, one value per segment. Nothing is computed before the inputs of a
linear are read: then all segments are computed up to there, side by side, and intermediate values are released. So a
technique can look at all inputs of a linear and choose its weights, and the segments continue with the chosen weights.
Every operation runs once, and only a few tensors per segment are in memory, never the scores of all of them.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Executor

import torch
from torch import Tensor

from qairt.model.config import DecoderConfig
from qairt.model.kept import kept_names
from qairt.model.names import PAST, name_of_expert, token_axis
from qairt.model.ops import AttendsAtOnce, Branch, ExpertMlp
from qairt.model.reference import grown
from qairt.model.torch_ops import Tap, TorchOps, product
from qairt.quant.measure.deferred import Deferred, Segment, Values
from qairt.quant.measure.expert_steps import ExpertSteps

KEPT = ".attn.residual"
"""Used by both the MLP and the block's output."""


class LockstepOps(AttendsAtOnce[Values]):
    """`qairt.model.decoder.BlockOps` on a value for each segment."""

    def __init__(
        self,
        segments: Sequence[Segment],
        weight: Callable[[Segment, str], Tensor],
        on_linear: Callable[[str, LinearInputs], None],
        taps: Sequence[Tap | None],
        pool: Executor,
        begins_at: Callable[[Segment], None],
        branches: Callable[[int], Mapping[str, Tensor]] = lambda chunk: {},
    ) -> None:
        """
        Args:
            segments: those of a chunk in their order.
            weight: gives a parameter for a segment, by name.
            on_linear: called with a linear's weight name and inputs before it is computed.
            taps: by stream, called with every tensor.
            begins_at: called with a segment on the thread that is about to compute it.
            branches: gives the values of a chunk's LoRA branches; all chunks have the same, or none.
        """
        self.segments = segments
        self._weight = weight
        self._on_linear = on_linear
        self._taps = taps
        self._pool = pool
        self._begins_at = begins_at
        self._branches = branches
        self.release_expert: Callable[[str, int], None] = lambda down, expert: None
        """Called with the weight of the experts' last linear and the expert that is done."""
        self._present: dict[str, Values] = {}
        self._chunks: dict[tuple[int, int], list[int]] = {}
        """By stream and chunk, the places of its segments."""
        for place, segment in enumerate(segments):
            self._chunks.setdefault((segment.stream, segment.chunk), []).append(place)

    def compute(self, values: Values) -> list[Tensor]:
        """All values, chunks side by side; they are kept from now on."""
        list(self._pool.map(lambda places: self._compute_chunk(values, places), self._chunks.values()))
        return [value.value for value in values if value.value is not None]

    @torch.inference_mode()
    def _compute_chunk(self, values: Values, places: list[int]) -> None:
        for place in places:
            if values[place].value is None:
                segment = self.segments[place]
                self._begins_at(segment)
                values[place].hold(values[place].compute(self._taps[segment.stream], {}))

    def past(self, present: str, empty: Tensor) -> Values:
        """What a layer keeps before each segment: what the earlier segments of its chunk gave as `present`; `empty`
        before the first."""
        pasts: Values = []
        for place, segment in enumerate(self.segments):
            before = [earlier for earlier in self._chunks[segment.stream, segment.chunk] if earlier < place]
            if not before:
                pasts.append(Deferred.known(empty))
                continue

            def joined(before: list[int] = before) -> Tensor:
                parts = [self._present[present][earlier].compute(None, {}) for earlier in before]
                return grown(present, empty, torch.cat(parts, token_axis(present)))

            pasts.append(Deferred("", joined))
        return pasts

    def release(self) -> None:
        """Release keys and values: the block is done."""
        self._present.clear()

    def present(self, name: str) -> Values:
        """Keys or values of each segment's tokens."""
        return self._present[name]

    # BlockOps

    def linear(self, x: Values, weight: str, bias: str | None, *, out: str) -> Values:
        self._on_linear(weight, LinearInputs(self, x))
        found = self._each(
            out if bias is None else out + ".matmul",
            lambda segment: lambda value: product(value, self._weight(segment, weight)),
            x,
        )
        if bias is None:
            return found
        return self._each(out, lambda segment: lambda value: value + self._weight(segment, bias), found)

    def rms_norm(self, x: Values, weight: str, epsilon: float, *, out: str) -> Values:
        def norm_of(segment: Segment) -> Callable[..., Tensor]:
            def norm(value: Tensor) -> Tensor:
                scale = torch.rsqrt(value.square().mean(-1, keepdim=True) + epsilon)
                return value * scale * self._weight(segment, weight)

            return norm

        return self._each(out, norm_of, x)

    def scale(self, x: Values, weight: str, *, out: str) -> Values:
        return self._with(weight, torch.mul, x, out=out)

    def shift(self, x: Values, weight: str, *, out: str) -> Values:
        return self._with(weight, torch.add, x, out=out)

    def mean(self, x: Values, *, out: str) -> Values:
        return self._all(out, _PLAIN.mean, x)

    def add(self, a: Values, b: Values, *, out: str) -> Values:
        return self._all(out, _PLAIN.add, a, b)

    def sub(self, a: Values, b: Values, *, out: str) -> Values:
        return self._all(out, _PLAIN.sub, a, b)

    def mul(self, a: Values, b: Values, *, out: str) -> Values:
        return self._all(out, _PLAIN.mul, a, b)

    def minimum(self, x: Values, weight: str, *, out: str) -> Values:
        return self._with(weight, torch.minimum, x, out=out)

    def maximum(self, x: Values, weight: str, *, out: str) -> Values:
        return self._with(weight, torch.maximum, x, out=out)

    def largest(self, x: Values, count: int, size: int, chosen: str, others: str, *, out: str) -> Values:
        def choice(segment: Segment) -> Callable[..., Tensor]:
            def choose(value: Tensor) -> Tensor:
                high, low = (self._weight(segment, name) for name in (chosen, others))
                return low.expand(value.shape).scatter(-1, value.topk(count, -1).indices, float(high))

            return choose

        return self._each(out, choice, x)

    def experts(
        self, x: Values, routing: tuple[Values, Values], count: int, mlp: ExpertMlp, down: str, *, out: str
    ) -> Values:
        """One expert after the other, each on its tokens alone, in all segments; its weights are released then."""
        chosen, weights = routing
        steps = ExpertSteps(self.segments, self.compute(x), self.compute(chosen), self.compute(weights))
        for expert in range(count):
            part = steps.of(expert)
            if part is not None:
                segments, inputs, shares = part
                ops = LockstepOps(segments, self._weight, self._on_linear, self._taps, self._pool, self._begins_at)
                products = mlp(ops, inputs, shares, f"{expert}.", 1)
                steps.add(expert, ops.compute(ops.linear(products, name_of_expert(down, expert), None, out="")))
            self.release_expert(down, expert)
        return self._each(out, lambda segment: lambda total: total, steps.totals)

    def softmax_beside(self, x: Values, mask: Values, sinks: str, *, out: str) -> Values:
        shares = self._with(sinks, lambda value, sink: value.amax(-1, keepdim=True) + sink, mask, out=out + ".sink")
        joined = self._all(
            out + ".joined",
            lambda value, sink, *, out: torch.cat((value, sink.expand(*value.shape[:-1], 1)), -1),
            x,
            shares,
        )
        return self._all(out, lambda value, *, out: torch.softmax(value, -1)[..., :-1], joined)

    def matmul(self, a: Values, b: Values, *, out: str) -> Values:
        return self._all(out, _PLAIN.matmul, a, b)

    def sigmoid(self, x: Values, *, out: str) -> Values:
        return self._all(out, _PLAIN.sigmoid, x)

    def tanh(self, x: Values, *, out: str) -> Values:
        return self._all(out, _PLAIN.tanh, x)

    def relu(self, x: Values, *, out: str) -> Values:
        return self._all(out, _PLAIN.relu, x)

    def gelu(self, x: Values, *, by_tanh: bool, out: str) -> Values:
        return self._all(out, lambda value, *, out: _PLAIN.gelu(value, by_tanh=by_tanh, out=out), x)

    def softmax(self, x: Values, *, out: str) -> Values:
        return self._all(out, _PLAIN.softmax, x)

    def slice(self, x: Values, start: int, end: int, *, axis: int, out: str) -> Values:
        return self._all(out, lambda value, *, out: _PLAIN.slice(value, start, end, axis=axis, out=out), x)

    def pad(self, x: Values, before: int, after: int, *, out: str) -> Values:
        return self._all(out, lambda value, *, out: _PLAIN.pad(value, before, after, out=out), x)

    def tail(self, x: Values, start: int, *, axis: int, out: str) -> Values:
        return self._all(out, lambda value, *, out: _PLAIN.tail(value, start, axis=axis, out=out), x)

    def average(self, x: Values, weights: Values, *, out: str) -> Values:
        return self._all(out, _PLAIN.average, x, weights)

    def concat(self, parts: Sequence[Values], *, axis: int, out: str) -> Values:
        return self._all(out, lambda *values, out: _PLAIN.concat(values, axis=axis, out=out), *parts)

    def reshape(self, x: Values, shape: Sequence[int], *, out: str) -> Values:
        return self._kept(out, self._all(out, lambda value, *, out: _PLAIN.reshape(value, shape, out=out), x))

    def transpose(self, x: Values, order: Sequence[int], *, out: str) -> Values:
        return self._kept(out, self._all(out, lambda value, *, out: _PLAIN.transpose(value, order, out=out), x))

    def _kept(self, out: str, values: Values) -> Values:
        if PAST.match(out):
            self._present[out] = values
        return values

    def branch(self, module: str) -> Branch[Values] | None:
        by_segment = [self._branches(segment.chunk) for segment in self.segments]
        return Branch.among(
            {name: [Deferred.known(values[name]) for values in by_segment] for name in by_segment[0]}, module
        )

    def _with(self, weight: str, operation: Callable[[Tensor, Tensor], Tensor], x: Values, *, out: str) -> Values:
        return self._each(out, lambda segment: lambda value: operation(value, self._weight(segment, weight)), x)

    def _all(self, out: str, operation: Callable[..., Tensor], *sources: Values) -> Values:
        return self._each(out, lambda segment: lambda *values: operation(*values, out=out), *sources)

    def _each(self, out: str, operation_of: Callable[[Segment], Callable[..., Tensor]], *sources: Values) -> Values:
        keep = out.endswith(KEPT) or PAST.match(out) is not None
        return [
            Deferred(out, operation_of(segment), tuple(values), keep=keep)
            for segment, *values in zip(self.segments, *sources, strict=True)
        ]


def kept_of(ops: LockstepOps, config: DecoderConfig, layer: int, stream: int, chunk: int) -> tuple[Tensor, ...]:
    """What the layer keeps of a stream's chunk, all its tokens."""
    return tuple(
        torch.cat(
            [
                part.value
                for segment, part in zip(ops.segments, ops.present(name), strict=True)
                if segment.stream == stream and segment.chunk == chunk and part.value is not None
            ],
            token_axis(name),
        )
        for _, name in kept_names(config, layer)
    )


class LinearInputs:
    """The inputs of a linear, in both streams."""

    def __init__(self, ops: LockstepOps, values: Values) -> None:
        self._ops = ops
        self._values = values

    def read(self) -> tuple[list[Tensor], list[Tensor]]:
        """Those of the float and of the quantized stream, [tokens, in] by segment, in the same order."""
        computed = [value.flatten(0, -2) for value in self._ops.compute(self._values)]
        by_stream: tuple[list[Tensor], list[Tensor]] = ([], [])
        for segment, value in zip(self._ops.segments, computed, strict=True):
            by_stream[segment.stream].append(value)
        return by_stream

    def same_as(self, other: LinearInputs) -> bool:
        """Both are the same tensors."""
        return self._values is other._values


class _Plain(TorchOps):
    """The arithmetic alone, without parameters."""

    def __init__(self) -> None:
        self.tap = None


_PLAIN = _Plain()
