"""Check that a bundle's tokenizer is the model's."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from qairt.errors import Finding

if TYPE_CHECKING:
    from tokenizers import Tokenizer

USUAL_PADDING = 0.05
"""Share of the vocabulary that models leave unused, to round its size."""
REPLACE = "use tokenizer.json of the model that the binaries were compiled from"


def check_tokenizer(path: Path, *, vocabulary: int | None, end_tokens: Sequence[int]) -> Iterator[Finding]:
    """
    Args:
        path: `tokenizer.json`.
        vocabulary: the size of the model's logits, if known.
        end_tokens: the model's end-of-text tokens.
    """
    from tokenizers import Tokenizer

    if not path.is_file():
        return  # found by the check of files
    try:
        tokenizer = Tokenizer.from_file(str(path))
    except Exception as error:  # the library raises plain Exception
        yield Finding("tokenizer", "error", f"{path.name} is not a tokenizer: {error}", REPLACE)
        return
    faults = list(_faults(tokenizer, path.name, vocabulary, end_tokens))
    yield from faults
    if not faults:
        size = max(tokenizer.get_vocab(with_added_tokens=True).values(), default=-1) + 1
        ends = ", ".join(repr(_text_of(tokenizer, token)) for token in end_tokens)
        yield Finding("tokenizer", "ok", f"{size:,} tokens{f', texts end with {ends}' if ends else ''}")


def _faults(tokenizer: Tokenizer, name: str, vocabulary: int | None, end_tokens: Sequence[int]) -> Iterator[Finding]:
    size = max(tokenizer.get_vocab(with_added_tokens=True).values(), default=-1) + 1
    if vocabulary is not None and not vocabulary * (1 - USUAL_PADDING) <= size <= vocabulary:
        what = f"{name} has {size:,} tokens, the model {vocabulary:,}: it belongs to another model"
        yield Finding("tokenizer", "error", what, REPLACE)
        return
    special = {token for token, added in tokenizer.get_added_tokens_decoder().items() if added.special}
    for token in end_tokens:
        text = _text_of(tokenizer, token)
        if text is None:
            yield Finding("tokenizer", "error", f"{name} has no end token {token}", REPLACE)
        elif token not in special:
            what = f"the end token {token} is the ordinary text {text!r} in {name}: it belongs to another model"
            yield Finding("tokenizer", "error", what, REPLACE)


def _text_of(tokenizer: Tokenizer, token: int) -> str | None:
    try:
        text: str | None = tokenizer.id_to_token(token)
    except OverflowError:  # larger than 32 bits
        return None
    return text
