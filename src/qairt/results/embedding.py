"""Vectors of texts, by a finished run's embedding model on this machine."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import numpy as np
from numpy.typing import NDArray

from qairt.errors import GenerationError, ModelError
from qairt.notify import Notify
from qairt.results.finished import FinishedRun
from qairt.results.generation import opened_generator
from qairt.runtime.generator import require_known
from qairt.stages.facts import model_of

if TYPE_CHECKING:
    from qairt.model.tokenizer import Tokenizer

EmbeddingTarget = Literal["cpu", "torch", "htp-emulator", "genie"]
"""cpu: the split, quantized graphs in ONNX Runtime. torch: the float model. htp-emulator: the graphs compiled for the
NPU and emulated. genie: the same in the vendor's runtime."""

Floats = NDArray[np.float32]


@dataclass(frozen=True)
class Embeddings:
    """Vectors of some texts."""

    texts: tuple[str, ...]
    """As they were read, with what was put before them."""
    tokens: tuple[int, ...]
    """How many each has."""
    vectors: Floats
    """[texts, values]"""

    @property
    def cosines(self) -> Floats:
        """The cosine of the angle between each two vectors, [texts, texts]."""
        lengths = np.linalg.norm(self.vectors, axis=1, keepdims=True)
        unit = self.vectors / np.maximum(lengths, np.finfo(np.float32).tiny)
        found: Floats = unit @ unit.T
        return found


VectorOf = Callable[[str, Sequence[int]], Floats]
"""A text and its tokens -> its vector [values]."""


def embed(
    run: FinishedRun, texts: Sequence[str], target: EmbeddingTarget, prompt: str | None, notify: Notify
) -> Embeddings:
    """
    Args:
        prompt: the name of what the model's authors put before texts of this use; nothing when None.
        notify: gets the progress of the slow targets, line by line.

    Raises:
        ModelError: this is no embedding model, or it has no such prompt; lists those it has.
        GenerationError: a text is empty or does not fit the graphs.
        CacheError: a stage that the target needs has not finished; names it.
    """
    if not run.is_embedding:
        raise ModelError(
            "this is no embedding model: it generates text",
            where=str(model_of(run.env).source),
            remedy=f"qairt generate {run.recipe_arguments} TEXT",
        )
    read = [_prefix(run, prompt) + text for text in texts]
    longest = run.context_length or run.config.max_position_embeddings
    words = zip(read, texts, strict=True)
    ids = [_ids(run.tokenizer, text, given, longest, run.config.vocab_size) for text, given in words]
    with _opened(run, target, longest, notify) as vector_of:
        vectors = np.stack([vector_of(text, tokens) for text, tokens in zip(read, ids, strict=True)])
    return Embeddings(tuple(read), tuple(map(len, ids)), vectors)


@contextmanager
def _opened(run: FinishedRun, target: EmbeddingTarget, length: int, notify: Notify) -> Iterator[VectorOf]:
    if target == "torch":
        from qairt.model.parameters import open_parameters
        from qairt.model.reference import Reference

        reference = Reference(open_parameters(model_of(run.env).source, run.config), keep_weights=True)
        yield lambda text, ids: reference.embedding(ids)
    elif target == "genie":
        from qairt.results.genie_embedding import GenieEmbedder

        with GenieEmbedder(run, length).opened(notify) as embedding:
            yield lambda text, ids: np.asarray(embedding.vector(text), np.float32)
    else:
        from qairt.runtime.chain import PartChain

        with opened_generator(run, target, notify, embeds=True) as chain:
            assert isinstance(chain, PartChain)
            yield lambda text, ids: chain.embedding(ids)


def _prefix(run: FinishedRun, name: str | None) -> str:
    from qairt.model.sentence_transformers import PROMPTS, read_prompts

    if name is None:
        return ""
    model = model_of(run.env)
    prompts = read_prompts(model.source) if model.format == "safetensors" else {}
    if name not in prompts:
        known = ", ".join(prompts) or "none"
        raise ModelError(
            f"the model has no prompt {name!r}",
            where=str(model.source / PROMPTS if model.format == "safetensors" else model.source),
            remedy=f"it has: {known}; or put the words before the text yourself",
        )
    return prompts[name]


def _ids(tokenizer: Tokenizer, text: str, given: str, longest: int, vocabulary: int) -> list[int]:
    if not given.strip():
        raise GenerationError("a text is empty", where="TEXT", remedy="give some words")
    ids = tokenizer.encode(text, add_special_tokens=True)
    if len(ids) > longest:
        raise GenerationError(
            f"a text of {len(ids)} tokens does not fit: the longest graph reads {longest}",
            where=f"{given[:40]!r}",
            remedy="shorten it, or set a larger context length in stages.prepare_exports and run again",
        )
    require_known(ids, vocabulary)
    return ids
