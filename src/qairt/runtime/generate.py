"""Text from a prompt: prefill, then token by token until the answer ends."""

from __future__ import annotations

import time
from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Literal, Protocol

from pydantic import BaseModel, ConfigDict

from qairt.errors import GenerationError
from qairt.runtime.generator import Generator, require_room
from qairt.runtime.sampling import Sampling, TokenSampler

StopReason = Literal["eos", "max_new_tokens", "context"]


class Vocabulary(Protocol):
    """What generation needs of `qairt.model.tokenizer.Tokenizer`."""

    chat_template: str | None

    def encode(self, text: str, *, add_special_tokens: bool = ...) -> list[int]: ...

    def decode_stream(self, ids: Iterator[int], *, skip_special_tokens: bool = ...) -> Iterator[str]: ...

    def apply_chat_template(self, messages: Sequence[dict[str, Any]], *, add_generation_prompt: bool = ...) -> str: ...


@dataclass(frozen=True)
class Piece:
    """Text as it appears on the screen."""

    text: str
    tokens: int
    """Tokens generated so far. A piece can take several: a character may span tokens."""


class GenerationResult(BaseModel):
    """One answer and what it took."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    text: str
    tokens: tuple[int, ...]
    """Generated ids; the one that ended the answer is among them."""
    prompt_tokens: int
    stop_reason: StopReason
    """eos: the model ended it; max_new_tokens: it was cut off; context: there is no room for another token."""
    time_to_first_token_s: float
    """From the start to the first token, opening graphs included."""
    load_s: float
    """Seconds spent on opening graphs, for the prompt or later."""
    prefill_s: float
    """Seconds for the prompt, without opening graphs."""
    decode_s: float
    """Seconds for all tokens after the first, without opening graphs."""
    tokens_per_second: float | None
    """While decoding; None when there was but one token."""


class Answer(Iterator[Piece], ABC):
    """An answer as it is generated: iterate over its pieces, then ask for the `result`."""

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
        """What has been generated so far."""
        return self._text

    @property
    @abstractmethod
    def result(self) -> GenerationResult:
        """The whole answer; what has not been generated yet is."""

    @abstractmethod
    def _generate(self) -> Iterator[int]:
        """Tokens that have a text, each in `_tokens` by then."""


class Generation(Answer):
    """What a `Generator` answers."""

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
        """The clock and the seconds of loading at the start, the first token and the last."""

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
    prompt: str | Sequence[dict[str, Any]],
    sampling: Sampling | None = None,
    *,
    max_new_tokens: int = 128,
    eos_ids: Sequence[int] = (),
    chat: bool | None = None,
) -> Generation:
    """Answer `prompt`. Nothing runs before the first piece is asked for.

    Args:
        generator: what runs the model; its tokens are forgotten first.
        tokenizer: the model's.
        prompt: a user's words, or a conversation `[{"role": …, "content": …}, …]`.
        sampling: how tokens are drawn; greedy by default.
        max_new_tokens: the answer is cut off there.
        eos_ids: tokens that end the answer, `DecoderConfig.eos_token_ids`.
        chat: put the words into the model's chat template; by default where it has one. A conversation always is.

    Returns:
        An iterator over pieces of text, with the whole as `.result`.

    Raises:
        GenerationError: the prompt is empty or does not fit the context, or a setting is out of range.
        ModelError: a chat template is asked for, and the model has none.
    """
    if max_new_tokens < 1:
        raise GenerationError(f"{max_new_tokens} is out of range", where="max_new_tokens", remedy="allowed: 1 or more")
    ids = prompt_ids(tokenizer, prompt, chat=chat)
    generator.reset()
    require_room(len(ids), generator.room, generator.context_length)
    return Generation(generator, tokenizer, ids, sampling or Sampling(), max_new_tokens, frozenset(eos_ids))


def prompt_ids(tokenizer: Vocabulary, prompt: str | Sequence[dict[str, Any]], *, chat: bool | None = None) -> list[int]:
    """The prompt's token ids, in the chat template where `chat` or, when None, where the model has one."""
    text, is_bare = prompt_text(tokenizer, prompt, chat=chat)
    return tokenizer.encode(text, add_special_tokens=True) if is_bare else tokenizer.encode(text)


def prompt_text(
    tokenizer: Vocabulary, prompt: str | Sequence[dict[str, Any]], *, chat: bool | None = None
) -> tuple[str, bool]:
    """The prompt as the model reads it, and whether it is bare: outside the chat template, which holds all special
    tokens."""
    if isinstance(prompt, str):
        if not prompt.strip():
            raise GenerationError("the prompt is empty", where="prompt", remedy="give a prompt")
        if not (tokenizer.chat_template is not None if chat is None else chat):
            return _text(prompt), True
        prompt = [{"role": "user", "content": prompt}]
    return _text(tokenizer.apply_chat_template(prompt)), False


def _text(prompt: str) -> str:
    """As it is. A terminal's bytes that are no UTF-8 come as lone surrogates, which no tokenizer takes."""
    try:
        prompt.encode()
    except UnicodeEncodeError as error:
        raise GenerationError(
            "the prompt holds bytes that are no UTF-8", where="prompt", remedy="give it in UTF-8"
        ) from error
    return prompt
