"""Parts chained into a decoder: prefill by a large AR, decode by the smallest, one KV cache for all."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

import numpy as np

from qairt.errors import GraphError
from qairt.graph.tensors import GraphSignature, TensorSpec
from qairt.model.config import DecoderConfig
from qairt.model.rope import rotary
from qairt.runtime.cache import PAST, KVCache
from qairt.runtime.generator import Logits, require_room
from qairt.runtime.parts import Opener, PartRunner, QuantizedPart
from qairt.runtime.stored import Array, Floats, smallest, to_real, to_stored

MASKED = -1e9
"""What a float graph is given for a position that must not be seen; a quantized one gets its encoding's least value."""


class PartChain:
    """A `Generator` over the parts of one context length.

    1. A call of AR takes up to AR tokens, right-aligned: with fewer, the left is padding, so the last token's logits
       are always in the last row.
    2. Tokens have their real positions (rotary embedding) wherever they lie; padding is masked for everybody.
    3. A call sees CL - AR tokens of the past, so near the end of the context only small ARs can go on. The AR of a call
       is the smallest that takes all tokens left, else the largest.
    4. Parts of one AR are open at a time, unless `keep_open`: prefill's memory is given back before decoding.
    """

    def __init__(
        self,
        parts_by_ar: Mapping[int, Sequence[QuantizedPart]],
        config: DecoderConfig,
        open_part: Opener,
        *,
        keep_open: bool = False,
    ) -> None:
        """
        Args:
            parts_by_ar: by AR, the parts in order.
            config: gives the rotary embedding.
            open_part: makes a part ready to run; see `qairt.runtime.cpu`, `qairt.runtime.emulator`.
            keep_open: keep the parts of every AR open, to answer many prompts.

        Raises:
            GraphError: the parts do not belong together; names the graph.
        """
        self._parts = {ar: list(parts_by_ar[ar]) for ar in sorted(parts_by_ar)}
        signatures = [part.signature for parts in self._parts.values() for part in parts]
        require_chain(self._parts)
        self.config = config
        self.context_length = signatures[0].cl
        self._cache = KVCache(signatures)
        self._open_part = open_part
        self._keep_open = keep_open
        self._open: dict[int, list[PartRunner]] = {}

    @property
    def length(self) -> int:
        """Tokens held."""
        return self._cache.length

    @property
    def room(self) -> int:
        smallest_ar = min(self._parts)
        if smallest_ar == 1:
            return self.context_length - self.length
        # Without AR 1 the last tokens of the context can be reached by no call.
        free = self.context_length - smallest_ar - self.length
        return free // smallest_ar * smallest_ar + smallest_ar if free >= 0 else 0

    def prefill(self, ids: Sequence[int]) -> Logits:
        rows, spec = None, None
        for rows, spec in self._calls(ids):  # noqa: B007 - only the last call's are wanted
            pass
        assert rows is not None
        assert spec is not None
        return to_real(rows[-1], spec)

    def decode(self, token: int) -> Logits:
        return self.prefill([token])

    def logits(self, ids: Sequence[int]) -> Iterator[Logits]:
        """As `prefill`, but every token's logits: [tokens of the call, vocab], call by call."""
        for rows, spec in self._calls(ids):
            yield to_real(rows, spec)

    def reset(self) -> None:
        self._cache.reset()

    def close(self) -> None:
        for ar in list(self._open):
            self._close(ar)

    def __enter__(self) -> PartChain:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def open(self, ar: int) -> list[PartRunner]:
        """The runners of one AR, made ready if they are not."""
        if ar not in self._open:
            if not self._keep_open:
                self.close()
            runners: list[PartRunner] = []
            self._open[ar] = runners
            for part in self._parts[ar]:
                runners.append(self._open_part(part))
        return self._open[ar]

    def _close(self, ar: int) -> None:
        for runner in self._open.pop(ar):
            runner.close()

    def _calls(self, ids: Sequence[int]) -> Iterator[tuple[Array, TensorSpec]]:
        """Feed tokens; yields each call's logits as stored, without its padding, and their grid."""
        require_room(len(ids), self.room, self.context_length)
        start = 0
        while start < len(ids):
            ar = self._ar_for(len(ids) - start)
            taken = ids[start : start + ar]
            yield self._call(ar, taken)
            start += len(taken)

    def _ar_for(self, count: int) -> int:
        possible = [ar for ar in self._parts if self.length <= self.context_length - ar]
        return min((ar for ar in possible if ar >= count), default=max(possible))

    def _call(self, ar: int, ids: Sequence[int]) -> tuple[Array, TensorSpec]:
        runners = self.open(ar)
        real = self._inputs(ar, ids)
        known: dict[str, Array] = {}
        present: dict[str, Array] = {}
        for part, runner in zip(self._parts[ar], runners, strict=True):
            inputs: dict[str, Array] = {}
            for spec in part.signature.inputs:
                if PAST.match(spec.name):
                    inputs[spec.name] = self._cache.past(spec)
                elif spec.name in real:
                    inputs[spec.name] = real[spec.name](spec)
                else:
                    inputs[spec.name] = known[spec.name]
            outputs = runner.run(inputs)
            for name, value in outputs.items():
                (present if PAST.match(name) else known)[name] = value
        self._cache.append(present, len(ids))
        spec = _logits_spec(self._parts[ar][-1].signature)
        return known[spec.name][0, -len(ids) :], spec
