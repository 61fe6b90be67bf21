"""Text generation: prefill the prompt, then decode token by token until the answer ends."""

from __future__ import annotations

import time
from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, Protocol, runtime_checkable

from pydantic import BaseModel, ConfigDict

from qairt.errors import GenerationError
from qairt.runtime.generator import Generator, require_room
from qairt.runtime.sampling import Sampling, TokenSampler

if TYPE_CHECKING:
    from qairt.model.chat import Message
    from qairt.runtime.saved_state import SavedState

StopReason = Literal["eos", "max_new_tokens", "context"]


class Vocabulary(Protocol):
    """The part of `qairt.model.tokenizer.Tokenizer` that generation needs."""

    chat_template: str | None

    def encode(self, text: str, *, add_special_tokens: bool = ...) -> list[int]: ...

    def decode_stream(self, ids: Iterator[int], *, skip_special_tokens: bool = ...) -> Iterator[str]: ...

    def apply_chat_template(self, messages: Sequence[Message], *, add_generation_prompt: bool = ...) -> str: ...


@runtime_checkable
class Resumable(Protocol):
    """A generator that can go on from a saved state."""

    reused: int
    """Tokens of the prompt that the state held."""

    def resume(self, state: SavedState) -> None:
        """From now on, do not read again what a prompt has in common with the beginning of `state`."""

    def saved(self) -> SavedState:
        """The tokens it has read, with their keys and values."""


@dataclass(frozen=True)
class Piece:
    """The next piece of text."""

    text: str
    tokens: int
    """Tokens generated so far. A piece can take several, because a character may span tokens."""


class GenerationResult(BaseModel):
    """One answer and its timing."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    text: str
    tokens: tuple[int, ...]
    """Generated ids, including the one that ended the answer."""
    prompt_tokens: int
    reused_tokens: int = 0
    """Tokens of the prompt that a saved state held."""
    stop_reason: StopReason
    """eos: the model ended it; max_new_tokens: it was cut off; context: no room for another token."""
    time_to_first_token_s: float
    """From the start to the first token, including opening graphs."""
    load_s: float
    """Seconds spent opening graphs, for the prompt or later."""
    prefill_s: float
    """Seconds for the prompt, excluding opening graphs."""
    decode_s: float
    """Seconds for all tokens after the first, excluding opening graphs."""
    tokens_per_second: float | None
    """While decoding; None with a single token."""

    def print(self) -> None:
        """Print the text."""
        print(self.text)


class Answer(Iterator[Piece], ABC):
    """An answer while it is generated: iterate over its pieces, then read `result`."""

    def __init__(self, vocabulary: Vocabulary, ids: Sequence[int]) -> None:
        self.prompt_ids = list(ids)
        self._tokens: list[int] = []
        self._text = ""
        self._pieces = vocabulary.decode_stream(self._generate())

    def __next__(self) -> Piece:
        text = next(self._pieces)
        self._text += text
        return Piece(text, len(self._tokens))

    @property
    def text(self) -> str:
        """The text generated so far."""
        return self._text

    @property
    @abstractmethod
    def result(self) -> GenerationResult:
        """The whole answer; generates the rest first."""

    @abstractmethod
    def _generate(self) -> Iterator[int]:
        """Yield tokens that have a text, each after appending it to `_tokens`."""


class Generation(Answer):
    """The answer of a `Generator`."""

    def __init__(
        self,
        generator: Generator,
        vocabulary: Vocabulary,
        ids: Sequence[int],
        sampling: Sampling,
        max_new_tokens: int,
        eos_ids: frozenset[int],
    ) -> None:
        super().__init__(vocabulary, ids)
        self._generator = generator
        self._sampler = TokenSampler(sampling)
        self._max_new_tokens = max_new_tokens
        self._eos_ids = eos_ids
        self._stop_reason: StopReason | None = None
        self._times: list[tuple[float, float]] = []
        """Clock and loading seconds at the start, the first token and the last."""

    @property
    def result(self) -> GenerationResult:
        for _ in self:
            pass
        assert self._stop_reason is not None
        (start, loaded_0), (first, loaded_1), (last, loaded_2) = self._times[0], self._times[1], self._times[-1]
        decode = last - first - (loaded_2 - loaded_1)
        return GenerationResult(
            text=self._text,
            tokens=tuple(self._tokens),
            prompt_tokens=len(self.prompt_ids),
            reused_tokens=self._generator.reused if isinstance(self._generator, Resumable) else 0,
            stop_reason=self._stop_reason,
            time_to_first_token_s=first - start,
            load_s=loaded_2 - loaded_0,
            prefill_s=first - start - (loaded_1 - loaded_0),
            decode_s=decode,
            tokens_per_second=(len(self._tokens) - 1) / decode if len(self._tokens) > 1 else None,
        )

    def _note_time(self) -> None:
        self._times[2:] = []
        self._times.append((time.perf_counter(), self._generator.load_s))

    def _generate(self) -> Iterator[int]:
        self._note_time()
        logits = self._generator.prefill(self.prompt_ids)
        while True:
            token = self._sampler.pick(logits)
            self._note_time()
            self._tokens.append(token)
            self._stop_reason = self._why_stop(token)
            if token not in self._eos_ids:
                yield token
            if self._stop_reason is not None:
                return
            logits = self._generator.decode(token)

    def _why_stop(self, token: int) -> StopReason | None:
        if token in self._eos_ids:
            return "eos"
        if len(self._tokens) >= self._max_new_tokens:
            return "max_new_tokens"
        return None if self._generator.room else "context"


def generate(
    generator: Generator,
    tokenizer: Vocabulary,
    prompt: str | Sequence[Message],
    sampling: Sampling | None = None,
    *,
    max_new_tokens: int = 128,
    eos_ids: Sequence[int] = (),
    chat: bool | None = None,
) -> Generation:
    """Answer `prompt`. Nothing runs until the first piece is requested.

    Args:
        generator: the model; is reset first.
        tokenizer: the model's.
        prompt: a user message, or a conversation `[{"role": …, "content": …}, …]`.
        sampling: greedy by default.
        max_new_tokens: the limit of the answer's length.
        eos_ids: tokens that end the answer, `DecoderConfig.eos_token_ids`.
        chat: apply the model's chat template; by default if it has one. Always applied to a conversation.

    Returns:
        An iterator over pieces of text, with the whole answer as `.result`.

    Raises:
        GenerationError: the prompt is empty or does not fit the context, or a setting is out of range.
        ModelError: `chat` is True, and the model has no chat template.
    """
    if max_new_tokens < 1:
        raise GenerationError(f"{max_new_tokens} is out of range", where="max_new_tokens", remedy="allowed: 1 or more")
    ids = prompt_ids(tokenizer, prompt, chat=chat)
    generator.reset()
    require_room(len(ids), generator.room, generator.context_length)
    return Generation(generator, tokenizer, ids, sampling or Sampling(), max_new_tokens, frozenset(eos_ids))


def prompt_ids(tokenizer: Vocabulary, prompt: str | Sequence[Message], *, chat: bool | None = None) -> list[int]:
    """The prompt's token ids; the chat template is applied if `chat` or, when None, if the model has one."""
    text, is_bare = prompt_text(tokenizer, prompt, chat=chat)
    return tokenizer.encode(text, add_special_tokens=True) if is_bare else tokenizer.encode(text)


def prompt_text(
    tokenizer: Vocabulary, prompt: str | Sequence[Message], *, chat: bool | None = None
) -> tuple[str, bool]:
    """The prompt as the model gets it, and whether it is bare: without the chat template, which has all special
    tokens."""
    if isinstance(prompt, str):
        if not prompt.strip():
            raise GenerationError("the prompt is empty", where="prompt", remedy="give a prompt")
        if not (tokenizer.chat_template is not None if chat is None else chat):
            return _valid(prompt), True
        prompt = [{"role": "user", "content": prompt}]
    return _valid(tokenizer.apply_chat_template(prompt)), False


def _valid(prompt: str) -> str:
    """Reject lone surrogates, which stand for a terminal's bytes that are not UTF-8."""
    try:
        prompt.encode()
    except UnicodeEncodeError as error:
        raise GenerationError(
            "the prompt contains bytes that are not UTF-8", where="prompt", remedy="pass it in UTF-8"
        ) from error
    return prompt
