"""Whether a tokenizer, its chat template and the end tokens of a model belong together."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence

from qairt.errors import ModelError
from qairt.model.chat import Message
from qairt.model.config import DecoderConfig
from qairt.model.tokenizer import Tokenizer
from qairt.model.tokenizer_files import NAMED
from qairt.model.weights import listed

_MARK = re.compile(r"<\|[^<>|\s]+\|>")
"""How models write the marks of their templates; other marks are plain text in some of them."""
_USUAL_PADDING = 0.05
"""Share of the vocabulary that models leave unused, to round its size."""
_CONVERSATIONS: tuple[Sequence[Message], ...] = (
    [
        {"role": "user", "content": "Hello"},
        {"role": "assistant", "content": "Hi"},
        {"role": "user", "content": "How are you?"},
    ],
    [{"role": "user", "content": "Hello"}],
)
_OWN = "use the tokenizer's files that were published with the model"


def check_tokenizer(tokenizer: Tokenizer, config: DecoderConfig, where: str) -> Iterator[str]:
    """Check that what the model reads and writes is inside of its vocabulary.

    Args:
        where: the model, for errors.

    Yields:
        What the user should know.

    Raises:
        ModelError: the vocabulary is larger than the model's, no end token exists, or the template writes a mark whose
            id the model does not have.
    """
    vocabulary = config.vocab_size
    largest = max(tokenizer.fast.get_vocab(with_added_tokens=False).values(), default=-1)
    if largest >= vocabulary:
        raise ModelError(
            f"the tokenizer has {largest + 1:,} tokens, the model {vocabulary:,}: it belongs to another model",
            where=where,
            remedy=_OWN,
        )
    size = tokenizer.fast.get_vocab_size(with_added_tokens=True)
    if size < vocabulary * (1 - _USUAL_PADDING):
        yield f"the tokenizer has {size:,} tokens, the model {vocabulary:,}: it may belong to another model"
    outside = {
        text: token for text, token in tokenizer.fast.get_vocab(with_added_tokens=True).items() if token >= vocabulary
    }
    yield from _end_tokens(tokenizer, config, where)
    yield from _marks(tokenizer, outside, where)
    if outside:
        roles = [f"{role} {text}" for role in NAMED if (text := tokenizer.special_token(role)) in outside]
        yield (
            f"the tokenizer adds tokens whose ids the model ({vocabulary:,} tokens) does not have: "
            f"{listed(roles or sorted(outside))}; a text that contains them cannot be read"
        )


def _end_tokens(tokenizer: Tokenizer, config: DecoderConfig, where: str) -> Iterator[str]:
    special = {token for token, added in tokenizer.fast.get_added_tokens_decoder().items() if added.special}
    unknown = [
        token
        for token in config.eos_token_ids
        if token >= config.vocab_size or tokenizer.fast.id_to_token(token) is None
    ]
    if unknown and len(unknown) == len(config.eos_token_ids):
        raise ModelError(
            f"the model ends texts with token {unknown[0]:,}, which is outside of its vocabulary or unknown to its "
            "tokenizer",
            where=where,
            remedy="set eos_token_id in config.json and generation_config.json to the id of the tokenizer's eos_token",
        )
    for token in config.eos_token_ids:
        if token in unknown:
            yield f"the end token {token:,} is outside of the vocabulary or unknown to the tokenizer: no text has it"
        elif token not in special:
            yield f"the end token {token:,} is the ordinary text {tokenizer.fast.id_to_token(token)!r}"


def _marks(tokenizer: Tokenizer, outside: dict[str, int], where: str) -> Iterator[str]:
    if tokenizer.chat_template is None:
        return
    prompt, fault = _prompt(tokenizer)
    if fault is not None:
        yield fault.what.replace("these messages", "a plain conversation")
    for mark in dict.fromkeys(_MARK.findall(prompt)):
        if mark in outside:
            raise ModelError(
                f"the chat template writes {mark}, which is token {outside[mark]:,}, and the model does not have it",
                where=where,
                remedy=_OWN,
            )
        ids = tokenizer.encode(mark)
        if len(ids) != 1:
            yield f"the chat template writes {mark}, which is not a token: the tokenizer splits it into {len(ids)}"


def _prompt(tokenizer: Tokenizer) -> tuple[str, ModelError | None]:
    """A prompt as the template writes it; some reject an answer before it."""
    fault = None
    for conversation in _CONVERSATIONS:
        try:
            return tokenizer.apply_chat_template(conversation), None
        except ModelError as error:
            fault = fault or error
    return "", fault
