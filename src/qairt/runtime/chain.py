"""Parts chained into a decoder: prefill by a large AR, decode by the smallest, one KV cache for all."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence

import numpy as np

from qairt.errors import GraphError
from qairt.graph.tensors import GraphSignature, TensorSpec
from qairt.model.config import DecoderConfig
from qairt.model.rope import rotary
from qairt.runtime.cache import PAST, KVCache
from qairt.runtime.cpu import CpuPart
from qairt.runtime.generator import Logits, require_known, require_room
from qairt.runtime.parts import Opener, PartGraph, PartRunner
from qairt.runtime.stored import Array, Floats, smallest, to_real, to_stored

MASKED = -1e9
"""What a float graph is given for a position that must not be seen; a quantized one gets its encoding's least value."""

MADE = ("input_ids", "attention_mask", "position_ids_cos", "position_ids_sin")
"""Inputs that a call makes from token ids and the tokens held."""

LOGITS = "logits"


class ChainObserver:
    """Is told what a chain does; does nothing with it."""

    def opening(self, ar: int, parts: int) -> None:
        """The parts of an AR are being made ready."""

    def opened(self, ar: int, seconds: float) -> None:
        """They are."""

    def ran(self, part: PartGraph, inputs: Mapping[str, Array], outputs: Mapping[str, Array], count: int) -> None:
        """A part ran; of its AR rows the last `count` are tokens, those before are padding."""

    def called(self, ar: int, count: int, seconds: float) -> None:
        """All parts ran, for `count` tokens; `seconds` without opening them."""


class PartChain:
    """A `Generator` over the parts of one context length.

    1. A call of AR takes up to AR tokens, right-aligned: with fewer, the left is padding, so the last token's logits
       are always in the last row.
    2. Tokens have their real positions (rotary embedding) wherever they lie; padding is masked for everybody.
    3. A call sees CL - AR tokens of the past, so near the end of the context only small ARs can go on. The AR of a call
       is the smallest that takes all tokens left, else the largest; only multiples of the smallest AR are used.
    4. Parts of one AR are open at a time, unless `keep_open`: prefill's memory is given back before decoding.
    """

    def __init__(
        self,
        parts_by_ar: Mapping[int, Sequence[PartGraph]],
        config: DecoderConfig,
        open_part: Opener = CpuPart,
        *,
        keep_open: bool = False,
        observer: ChainObserver | None = None,
    ) -> None:
        """
        Args:
            parts_by_ar: by AR, the parts in order.
            config: gives the rotary embedding.
            open_part: makes a part ready to run; by default on ONNX Runtime's CPU provider.
            keep_open: keep the parts of every AR open, to answer many prompts.
            observer: is told of every call.

        Raises:
            GraphError: the parts do not belong together; names the graph.
        """
        self._parts = {ar: list(parts_by_ar[ar]) for ar in sorted(parts_by_ar)}
        signatures = [part.signature for parts in self._parts.values() for part in parts]
        require_chain(self._parts)
        self._ars = [ar for ar in self._parts if ar % min(self._parts) == 0]
        self.config = config
        self.context_length = signatures[0].cl
        self.load_s = 0.0
        self._cache = KVCache(signatures)
        self._open_part = open_part
        self._keep_open = keep_open
        self._observer = observer or ChainObserver()
        self._open: dict[int, list[PartRunner]] = {}

    @property
    def length(self) -> int:
        """Tokens held."""
        return self._cache.length

    @property
    def room(self) -> int:
        # Full calls of the smallest AR, and one more that may be padded: with AR 1 all that is left of the context.
        least = self._ars[0]
        return (self.context_length - self.length) // least * least

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
        while self._open:
            for runner in self._open.popitem()[1]:
                runner.close()

    def __enter__(self) -> PartChain:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _runners(self, ar: int) -> list[PartRunner]:
        """The runners of one AR, made ready if they are not."""
        if ar not in self._open:
            if not self._keep_open:
                self.close()
            self._observer.opening(ar, len(self._parts[ar]))
            start = time.perf_counter()
            runners: list[PartRunner] = []
            try:
                for part in self._parts[ar]:
                    runners.append(self._open_part(part))
                for runner in runners:
                    runner.ready()
            except BaseException:
                for runner in runners:
                    runner.close()
                raise
            self._open[ar] = runners
            seconds = time.perf_counter() - start
            self.load_s += seconds
            self._observer.opened(ar, seconds)
        return self._open[ar]

    def _calls(self, ids: Sequence[int]) -> Iterator[tuple[Array, TensorSpec]]:
        """Feed tokens; yields each call's logits as stored, without its padding, and their grid."""
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
        runners = self._runners(ar)
        start = time.perf_counter()
        known: dict[str, Array] = {}
        for part, runner in zip(self._parts[ar], runners, strict=True):
            inputs = {spec.name: self._input(spec, ar, ids, known) for spec in part.signature.inputs}
            outputs = runner.run(inputs)
            self._observer.ran(part, inputs, outputs, len(ids))
            known |= outputs
        self._observer.called(ar, len(ids), time.perf_counter() - start)
        self._cache.append(known, len(ids))
        spec = logits_spec(self._parts[ar])
        return known[spec.name][0, -len(ids) :], spec

    def _input(self, spec: TensorSpec, ar: int, ids: Sequence[int], known: dict[str, Array]) -> Array:
        """What a call of `ids` feeds to one input; what is alike for all parts is made once, in `known`."""
        if PAST.match(spec.name):
            return self._cache.past(spec)
        if spec.name not in known:
            known[spec.name] = self._made(spec, ar, ids)
        return known[spec.name]

    def _made(self, spec: TensorSpec, ar: int, ids: Sequence[int]) -> Array:
        padding = ar - len(ids)
        match spec.name:
            case "input_ids":
                return np.asarray([[0] * padding + list(ids)], spec.dtype)
            case "attention_mask":
                return to_stored(self._mask(spec, ar, len(ids)), spec)
            case "position_ids_cos" | "position_ids_sin":
                # Padding gets positions below the first token's; nobody sees it. One length for all calls, because
                # the keys in the cache stay as they were rotated.
                positions = np.arange(self.length - padding, self.length + len(ids))
                cos, sin = rotary(self.config, positions, length=self.context_length)
                return to_stored((cos if spec.name == "position_ids_cos" else sin)[None, None], spec)
        raise AssertionError(spec.name)  # require_chain knows every input

    def _mask(self, spec: TensorSpec, ar: int, count: int) -> Floats:
        """Additive mask [1, 1, AR, CL]: a token sees the tokens held, itself and those before it in the call.

        columns   0 … CL-AR-1 the past, right-aligned      CL-AR … CL-1 this call, right-aligned
        """
        masked = MASKED if spec.scale is None else smallest(spec)
        mask = np.full((ar, self.context_length), masked, np.float32)
        past = self.context_length - ar
        mask[:, past - self.length : past] = 0
        seen = np.tri(count, dtype=bool)
        mask[ar - count :, self.context_length - count :][seen] = 0
        return mask[None, None]


def logits_spec(parts: Sequence[PartGraph]) -> TensorSpec:
    """The last part's `logits`."""
    return next(spec for spec in parts[-1].signature.outputs if spec.name == LOGITS)


def require_chain(parts_by_ar: Mapping[int, Sequence[PartGraph]]) -> None:
    """
    Raises:
        GraphError: parts are missing, are not those of one context length, or hand on a tensor on another grid than
            the next one takes; names the graph.
    """
    if not any(parts_by_ar.values()):
        raise GraphError("there are no parts to run", remedy="run the pipeline up to the stage quantize")
    first = next(parts[0].signature for parts in parts_by_ar.values() if parts)
    for ar, parts in parts_by_ar.items():
        signatures = [part.signature for part in parts]
        if [signature.part for signature in signatures] != list(range(1, first.of + 1)):
            found = ", ".join(str(signature.part) for signature in signatures) or "none"
            raise GraphError(
                f"AR {ar} has the parts {found}, expected 1 to {first.of} in order",
                remedy="run the pipeline up to the stage quantize",
            )
        for signature in signatures:
            _require_place(signature, ar=ar, first=first)
        _require_flow(signatures)


def _require_place(signature: GraphSignature, *, ar: int, first: GraphSignature) -> None:
    if (signature.ar, signature.cl, signature.of) != (ar, first.cl, first.of):
        raise GraphError(
            f"the graph is AR {signature.ar}, CL {signature.cl}, one of {signature.of}; "
            f"expected AR {ar}, CL {first.cl}, one of {first.of}",
            where=signature.name,
            remedy="chain parts of one context length and one split",
        )


def _require_flow(signatures: Sequence[GraphSignature]) -> None:
    """Every input is made by the runtime, held in the cache, or handed on by an earlier part as it is taken."""
    known: dict[str, TensorSpec] = {}
    for signature in signatures:
        for spec in signature.inputs:
            if PAST.match(spec.name):
                continue
            if spec.name in MADE:
                known.setdefault(spec.name, spec)
            if spec.name not in known:
                raise GraphError(
                    f"no earlier part gives its input {spec.name}",
                    where=signature.name,
                    remedy=f"inputs besides hidden states: {', '.join(MADE)}, past_key_…_in, past_value_…_in",
                )
            if known[spec.name] != spec:
                raise GraphError(
                    f"it takes {spec.name} as {_text(spec)}, before it is {_text(known[spec.name])}",
                    where=signature.name,
                    remedy="quantize all parts with the encodings of one calibration",
                )
        known |= {spec.name: spec for spec in signature.outputs}
    if LOGITS not in {spec.name for spec in signatures[-1].outputs}:
        raise GraphError("the last part has no output logits", where=signatures[-1].name, remedy="give all parts")


def _text(spec: TensorSpec) -> str:
    text = f"{spec.dtype} {list(spec.shape)}"
    return text if spec.scale is None else f"{text} with scale {spec.scale} and offset {spec.offset}"
