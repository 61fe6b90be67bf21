"""The last rung of `qairt verify` for an embedding model: Genie's vectors against those of the CPU with the same parts.

Genie pads a text behind, the other runtimes before it, so both round differently even where nothing is wrong.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, ClassVar

from qairt.amounts import about, count
from qairt.errors import RecipeError
from qairt.notify import Notify
from qairt.verify.genie_rung import RungInGenie
from qairt.verify.result import VectorFidelity

if TYPE_CHECKING:
    from qairt.model.tokenizer import Tokenizer
    from qairt.results.genie_binaries import GenieBinaries
    from qairt.results.genie_embedding import GenieEmbedder
    from qairt.stages.quantize import QuantizedPart

TEXTS = 2
"""One that fills the graph, and half of it."""


@dataclass
class GenieVectors(RungInGenie):
    """Genie as a rung of an embedding model, which is opened when it is first needed.

    Args:
        recipe_arguments: the recipe and its overrides, for remedies.
    """

    open_model: Callable[[], GenieEmbedder]
    """Of the graphs that the ladder is about."""
    recipe_arguments: str
    gives: ClassVar[str] = "a vector"
    new: ClassVar[int] = 0

    @cached_property
    def embedder(self) -> GenieEmbedder:
        return self.open_model()

    @property
    def binaries(self) -> GenieBinaries:
        """Raises what `GenieBinaries` does."""
        return self.embedder.binaries

    def seconds_to_run(self) -> float:
        self.embedder.config([])
        return self._seconds

    def measure(self, ids: Sequence[int], parts: Sequence[QuantizedPart], notify: Notify) -> VectorFidelity:
        """
        Args:
            ids: of a text.
            parts: outputs of `quantize` for the graph's length, in order.

        Raises:
            QairtError: a binary cannot be compiled, or Genie refused it or crashed.
        """
        import numpy as np

        from qairt.runtime.chain import PartChain
        from qairt.runtime.heartbeat import heartbeat
        from qairt.runtime.metrics import cosine, sqnr_db
        from qairt.runtime.parts import PartGraph

        length, tokenizer = self.embedder.length, self.embedder.tokenizer
        texts = [text_of(tokenizer, ids, length), text_of(tokenizer, ids, max(length // 2, 1))]
        quantized = [PartGraph.read(part.quantized_onnx, part.signature) for part in parts]
        start = time.perf_counter()
        notify(f"genie: the NPU is emulated: {count(TEXTS, 'text')} of up to {length} tokens; {about(self._seconds)}")
        with (
            PartChain({length: quantized}, self.embedder.model) as cpu,
            self.embedder.opened(notify) as genie,
            heartbeat("genie", self._seconds, notify),
        ):
            found = [np.asarray(genie.vector(text), np.float32) for text in texts]
            read = [tokenizer.encode(text, add_special_tokens=True) for text in texts]
            own = [cpu.embedding(tokens) for tokens in read]
        pairs = list(zip(own, found, strict=True))
        return VectorFidelity(
            rung="genie",
            tokens=tuple(map(len, read)),
            values=len(own[0]),
            sqnr_db=tuple(sqnr_db(cpu, other) for cpu, other in pairs),
            cosine=tuple(cosine(cpu, other) for cpu, other in pairs),
            seconds=round(time.perf_counter() - start, 2),
        )

    @property
    def _seconds(self) -> float:
        from qairt.model.parts import computing_weights
        from qairt.runtime.emulator_cost import emulation_seconds
        from qairt.stages.split_model import parts_of

        weights = computing_weights(parts_of(self.embedder.run.env))
        return emulation_seconds(weights, [], [self.embedder.length] * TEXTS)


def text_of(tokenizer: Tokenizer, ids: Sequence[int], longest: int) -> str:
    """The beginning of a text, of so many tokens at most with those that the tokenizer adds."""
    for end in range(min(longest, len(ids)), 0, -1):
        text = tokenizer.decode(list(ids[:end]))
        if text.strip() and len(tokenizer.encode(text, add_special_tokens=True)) <= longest:
            return text
    raise RecipeError(
        f"no word of the recorded text fits {count(longest, 'token')} with those that the tokenizer adds",
        where="stages.prepare_exports.context_length",
        remedy="set a larger context length and run again",
    )
