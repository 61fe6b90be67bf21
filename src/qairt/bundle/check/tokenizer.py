"""Whether a bundle's tokenizer is the model's."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from qairt.errors import Finding

USUAL_PADDING = 0.05
"""Part of the vocabulary that models leave without a text, to make its size even."""
OTHERS = "take tokenizer.json from the model that the binaries were made of"


def check_tokenizer(path: Path, *, vocabulary: int | None, end_tokens: Sequence[int]) -> Iterator[Finding]:
    """
    Args:
        path: `tokenizer.json`.
        vocabulary: how many tokens the model has a score for, where that is known.
        end_tokens: ids that end a text.
    """
    from tokenizers import Tokenizer

    if not path.is_file():
        return  # said by the check of files
    try:
        tokenizer: Any = Tokenizer.from_file(str(path))
    except Exception as error:  # the library raises plain Exception
        yield Finding("tokenizer", "error", f"{path.name} is not a tokenizer: {error}", OTHERS)
        return
    faults = list(_faults(tokenizer, path.name, vocabulary, end_tokens))
    yield from faults
    if not faults:
        size = max(tokenizer.get_vocab(with_added_tokens=True).values(), default=-1) + 1
        ends = ", ".join(repr(_text_of(tokenizer, token)) for token in end_tokens)
        yield Finding("tokenizer", "ok", f"{size:,} tokens{f', a text ends with {ends}' if ends else ''}")


def _faults(tokenizer: Any, name: str, vocabulary: int | None, end_tokens: Sequence[int]) -> Iterator[Finding]:
    size = max(tokenizer.get_vocab(with_added_tokens=True).values(), default=-1) + 1
    if vocabulary is not None and not vocabulary * (1 - USUAL_PADDING) <= size <= vocabulary:
        told = f"{name} has {size:,} tokens, the model {vocabulary:,}: it is another model's"
        yield Finding("tokenizer", "error", told, OTHERS)
        return
    special = {token for token, added in tokenizer.get_added_tokens_decoder().items() if added.special}
    for token in end_tokens:
        text = _text_of(tokenizer, token)
        if text is None:
            yield Finding("tokenizer", "error", f"{name} has no text for the end token {token}", OTHERS)
        elif token not in special:
            told = f"the end token {token} is the ordinary text {text!r} in {name}: it is another model's"
            yield Finding("tokenizer", "error", told, OTHERS)


def _text_of(tokenizer: Any, token: int) -> str | None:
    try:
        text: str | None = tokenizer.id_to_token(token)
    except OverflowError:  # no 32 bits hold it
        return None
    return text
