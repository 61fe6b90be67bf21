"""Parts chained into a decoder: prefill with a large AR, decode with the smallest, one KV cache for all."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence

import numpy as np

from qairt.graph.tensors import TensorSpec
from qairt.model.config import DecoderConfig
from qairt.model.inputs import CONV, INPUT_IDS, is_mask
from qairt.model.masks import conv_places, mask_of
from qairt.model.names import LOGITS, PAST, POOLED, is_branch_input
from qairt.model.rope import rotary_inputs
from qairt.runtime.cache import KVCache
from qairt.runtime.chain_checks import require_chain
from qairt.runtime.cpu_parts import CpuParts
from qairt.runtime.generator import Logits, require_known, require_room
from qairt.runtime.parts import Opener, PartGraph, PartRunner
from qairt.runtime.saved_state import SavedState
from qairt.runtime.stored import Array, Floats, minimum, to_real, to_stored

MASKED = -1e9
"""The mask value of hidden positions for a float graph; a quantized one gets its encoding's minimum."""

Lengths = tuple[int, int]
"""Context length and AR of a graph."""


class ChainObserver:
    """Callbacks of a chain; these do nothing."""

    def opening(self, ar: int, parts: int) -> None:
        """The parts of an AR are being opened."""

    def opened(self, ar: int, seconds: float) -> None:
        """They are open."""

    def ran(self, part: PartGraph, inputs: Mapping[str, Array], outputs: Mapping[str, Array], count: int) -> None:
        """A part ran; the last `count` of its AR rows are tokens, the others padding."""

    def called(self, ar: int, count: int, seconds: float) -> None:
        """All parts ran on `count` tokens; `seconds` excludes opening them."""


class PartChain:
    """A `Generator` over the parts of one context length, or of several.

    1. A call at some AR takes up to AR tokens, right-aligned with padding on the left, so the last token's logits are
       always in the last row.
    2. Tokens have their true positions (rotary embedding) wherever they lie; padding is masked for all tokens.
    3. A call sees CL - AR past tokens, so near the end of the context only small ARs are usable. A call uses the
       smallest AR that takes all remaining tokens, else the largest; only multiples of the smallest AR are used.
    4. Parts of only one AR are open at a time, unless `keep_open`: prefill's memory is freed before decoding.
    5. With graphs of `shorter` contexts, a call runs on the shortest that it fits. ARs are chosen as without them, and
       all share one cache, so the tokens are those of the longest graph alone.
    """

    def __init__(
        self,
        parts_by_ar: Mapping[int, Sequence[PartGraph]],
        config: DecoderConfig,
        open_part: Opener | None = None,
        *,
        keep_open: bool = False,
        observer: ChainObserver | None = None,
        branches: Mapping[str, Array] | None = None,
        shorter: Mapping[int, Mapping[int, Sequence[PartGraph]]] | None = None,
    ) -> None:
        """
        Args:
            parts_by_ar: by AR, the parts in order.
            config: for the rotary embedding.
            open_part: opens a part; ONNX Runtime's CPU provider when None.
            keep_open: keep the parts of every AR open, for many prompts.
            observer: notified of every call.
            branches: the LoRA branches' inputs as stored integers, by name; those of the base when None.
            shorter: the parts of shorter contexts, by context length and AR.

        Raises:
            GraphError: the parts do not form a chain; names the graph.
        """
        require_chain(parts_by_ar)
        self._ars = [ar for ar in sorted(parts_by_ar) if ar % min(parts_by_ar) == 0]
        self.config = config
        self.context_length = next(parts[0].signature.cl for parts in parts_by_ar.values())
        self._parts: dict[Lengths, list[PartGraph]] = {}
        """The shortest contexts first."""
        for cl, by_ar in sorted({**(shorter or {}), self.context_length: parts_by_ar}.items()):
            require_chain(by_ar)
            self._parts |= {(cl, ar): list(parts) for ar, parts in by_ar.items()}
        signatures = [part.signature for parts in self._parts.values() for part in parts]
        self.load_s = 0.0
        self._cache = KVCache(signatures)
        self._ids: list[int] = []
        """The tokens in the cache."""
        self.reused = 0
        self._state: SavedState | None = None
        self._cpu = CpuParts()
        self._open_part = open_part or self._cpu
        self._keep_open = keep_open
        self._observer = observer or ChainObserver()
        self._open: dict[Lengths, list[PartRunner]] = {}
        self._branches = dict(branches or {})

    @property
    def length(self) -> int:
        """Tokens in the cache."""
        return self._cache.length

    @property
    def room(self) -> int:
        # in calls of the smallest AR; with AR 1 this is the rest of the context
        least = self._ars[0]
        return (self.context_length - self.length) // least * least

    def prefill(self, ids: Sequence[int]) -> Logits:
        if self._state is not None and self.length == 0:
            require_room(len(ids), self.room, self.context_length)
            shared, held = self._state.shared_with(ids), len(self._state.tokens)
            self.reused = self._cache.usable(self._state.cache, shared, held)
            self._cache.put(self._state.cache, self.reused)
            self._ids = list(ids[: self.reused])
            ids = ids[self.reused :]
        rows, spec = None, None
        for rows, spec in self._calls(ids):  # noqa: B007 - only the last is needed
            pass
        assert rows is not None
        assert spec is not None
        return to_real(rows[-1], spec)

    def decode(self, token: int) -> Logits:
        return self.prefill([token])

    def embedding(self, ids: Sequence[int]) -> Floats:
        """The vector [values] that an embedding model makes of a text; raises as `prefill`."""
        self.reset()
        return self.prefill(ids)

    def logits(self, ids: Sequence[int]) -> Iterator[Logits]:
        """Like `prefill`, but all tokens' logits, one call at a time: [tokens of the call, vocab]."""
        for rows, spec in self._calls(ids):
            yield to_real(rows, spec)

    def reset(self) -> None:
        self._cache.reset()
        self._ids, self.reused = [], 0

    def saved(self) -> SavedState:
        """The tokens it has read, with their keys and values.

        Raises:
            GenerationError: the context is full, and the oldest tokens are gone.
        """
        return SavedState(tuple(self._ids), self._cache.kept())

    def resume(self, state: SavedState) -> None:
        """From the next reset on, `prefill` does not read again what a prompt has in common with the beginning of
        `state`."""
        self._state = state

    def close(self) -> None:
        self._close_parts()
        self._cpu.release()

    def __enter__(self) -> PartChain:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _close_parts(self) -> None:
        while self._open:
            for runner in self._open.popitem()[1]:
                runner.close()

    def _runners(self, lengths: Lengths) -> list[PartRunner]:
        """The runners of one context length and AR, opened if necessary."""
        if lengths not in self._open:
            if not self._keep_open:
                self._close_parts()
            _, ar = lengths
            self._observer.opening(ar, len(self._parts[lengths]))
            start = time.perf_counter()
            runners: list[PartRunner] = []
            try:
                for part in self._parts[lengths]:
                    runners.append(self._open_part(part))
                for runner in runners:
                    runner.ready()
            except BaseException:
                for runner in runners:
                    runner.close()
                raise
            self._open[lengths] = runners
            seconds = time.perf_counter() - start
            self.load_s += seconds
            self._observer.opened(ar, seconds)
        return self._open[lengths]

    def _calls(self, ids: Sequence[int]) -> Iterator[tuple[Array, TensorSpec]]:
        """Run tokens; yields each call's stored logits without padding, and their spec."""
        require_room(len(ids), self.room, self.context_length)
        require_known(ids, self.config.vocab_size)
        start = 0
        while start < len(ids):
            ar = self._ar_for(len(ids) - start)
            taken = ids[start : start + ar]
            yield self._call(ar, taken)
            start += len(taken)

    def _ar_for(self, count: int) -> int:
        possible = [ar for ar in self._ars if self.length <= self.context_length - ar]
        return min((ar for ar in possible if ar >= count), default=max(possible))

    def _call(self, ar: int, ids: Sequence[int]) -> tuple[Array, TensorSpec]:
        cl = next(cl for cl, each in self._parts if each == ar and self.length <= cl - ar)
        parts, runners = self._parts[cl, ar], self._runners((cl, ar))
        start = time.perf_counter()
        known: dict[str, Array] = {}
        for part, runner in zip(parts, runners, strict=True):
            inputs = {spec.name: self._input(spec, (cl, ar), ids, known) for spec in part.signature.inputs}
            outputs = runner.run(inputs)
            self._observer.ran(part, inputs, outputs, len(ids))
            known |= outputs
        self._observer.called(ar, len(ids), time.perf_counter() - start)
        self._cache.append(known, len(ids))
        self._ids += ids
        spec = result_spec(parts)
        return known[spec.name][0, -len(ids) :], spec

    def _input(self, spec: TensorSpec, lengths: Lengths, ids: Sequence[int], known: dict[str, Array]) -> Array:
        """One input of a call; inputs common to all parts are computed once and kept in `known`."""
        if PAST.match(spec.name):
            return self._cache.past(spec)
        if is_branch_input(spec.name):
            if spec.name not in self._branches:
                self._branches[spec.name] = to_stored(np.zeros(spec.shape, np.float32), spec)
            return self._branches[spec.name]
        if spec.name not in known:
            known[spec.name] = self._computed(spec, lengths, ids)
        return known[spec.name]

    def _computed(self, spec: TensorSpec, lengths: Lengths, ids: Sequence[int]) -> Array:
        padding = lengths[1] - len(ids)
        if spec.name == INPUT_IDS:
            return np.asarray([[0] * padding + list(ids)], spec.dtype)
        if is_mask(spec.name):
            return to_stored(self._mask(spec, lengths, len(ids)), spec)
        if spec.name == CONV:
            return to_stored(conv_places(self.config, ar=lengths[1], new=len(ids)), spec)
        # Padding gets positions before the first token's, and is masked. All calls use the same length, because keys in
        # the cache stay as they were rotated.
        positions = np.arange(self.length - padding, self.length + len(ids))
        tables = rotary_inputs(self.config, positions, length=self.context_length)
        return to_stored(tables[spec.name][None, None], spec)

    def _mask(self, spec: TensorSpec, lengths: Lengths, count: int) -> Floats:
        cl, ar = lengths
        return mask_of(
            self.config,
            spec.name,
            ar=ar,
            cl=cl,
            past=self.length,
            new=count,
            floor=MASKED if spec.scale is None else minimum(spec),
        )


def result_spec(parts: Sequence[PartGraph]) -> TensorSpec:
    """The spec of the last part's logits, or of an embedding model's vector."""
    return next(spec for spec in parts[-1].signature.outputs if spec.name in (LOGITS, POOLED))
