"""The settings and added tokens of a tokenizer, put together from its files as transformers does.

1. `tokenizer_config.json` with `added_tokens_decoder`: it alone says which tokens are added and which are special.
2. Without: `special_tokens_map.json` replaces its settings; `added_tokens.json`, then tokenizer.json, list the tokens.
3. Tokens that tokenizer.json lacks, or has with other flags, are added in the order of their ids; then named special
   tokens that are not in the vocabulary.

Source: `PreTrainedTokenizerBase._from_pretrained` and `TokenizersBackend.__init__` of transformers 5.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from pydantic import JsonValue

from qairt.errors import ModelError
from qairt.files import read_regular
from qairt.model.json_file import read_json_object
from qairt.printable import as_written

ADDED_TOKENS = "added_tokens.json"
NAMED = ("bos_token", "eos_token", "unk_token", "sep_token", "pad_token", "cls_token", "mask_token")
"""Special tokens that have a role, in the order of transformers."""
_OFF = ("single_word", "lstrip", "rstrip", "special")
_REMEDY = "use the tokenizer's files that were published with the model"

Token = dict[str, JsonValue]
"""`content` and the flags of an added token."""


@dataclass(frozen=True)
class TokenizerFiles:
    """What the files beside `tokenizer.json` say."""

    settings: dict[str, JsonValue]
    """`tokenizer_config.json`, with what replaces it."""
    added: list[Token]
    """Tokens to add to those of `tokenizer.json`, in this order; those in its vocabulary keep their ids."""
    used: tuple[str, ...]
    """Names of the files that were read."""
    moved: list[str]
    """Named special tokens that another version of this program took from another file."""


def read_tokenizer_files(directory: Path) -> TokenizerFiles:
    """Read them.

    Args:
        directory: has a `tokenizer.json`.

    Raises:
        ModelError: a file is not what it should be; names it.
    """
    settings = _optional(directory / "tokenizer_config.json")
    used = ["tokenizer_config.json"]
    own = _own_tokens(directory / "tokenizer.json")
    plain_map = _optional(directory / "special_tokens_map.json")
    before = plain_map | settings
    listed: dict[int, Token] = {}
    if "added_tokens_decoder" in settings:
        listed = _decoder(settings["added_tokens_decoder"], directory / "tokenizer_config.json")
    else:
        settings = settings | plain_map
        used += ["special_tokens_map.json", ADDED_TOKENS]
        special = {*_named_texts(settings), *_extra_texts(settings)}
        for text, number in _optional(directory / ADDED_TOKENS).items():
            if isinstance(number, bool) or not isinstance(number, int):
                raise _malformed(directory / ADDED_TOKENS, f"the id of {text!r} is {as_written(number)}")
            listed[number] = {"content": text, "special": text in special, "normalized": text not in special}
        listed |= own
    named = set(_named_texts(settings))
    wanted = [token | {"special": True} if token["content"] in named else token for _, token in sorted(listed.items())]
    known = {token["content"] for token in (*wanted, *own.values())}
    wanted += [{"content": text, "special": True} for text in special_texts(settings) if text not in known]
    present = [_flags(token) for token in own.values()]
    added = [token for token in wanted if _flags(token) not in present]
    moved = [role for role in NAMED if text_of(settings.get(role)) != text_of(before.get(role))]
    return TokenizerFiles(settings, added, tuple(used), moved)


def special_texts(settings: Mapping[str, JsonValue]) -> list[str]:
    """The special tokens that the settings name: those with a role, then the others."""
    return list(dict.fromkeys((*_named_texts(settings), *_extra_texts(settings))))


def text_of(token: JsonValue) -> str | None:
    """The text of a token that is written as text or with its flags."""
    text = token.get("content") if isinstance(token, dict) else token
    return text if isinstance(text, str) else None


def _named_texts(settings: Mapping[str, JsonValue]) -> Iterator[str]:
    return (text for role in NAMED if (text := text_of(settings.get(role))) is not None)


def _extra_texts(settings: Mapping[str, JsonValue]) -> Iterator[str]:
    extra = settings.get("extra_special_tokens") or settings.get("additional_special_tokens") or []
    values = extra.values() if isinstance(extra, dict) else extra if isinstance(extra, list) else ()
    return (text for token in values if (text := text_of(token)) is not None)


def _decoder(stated: JsonValue, path: Path) -> dict[int, Token]:
    if not isinstance(stated, dict):
        raise _malformed(path, "added_tokens_decoder is not an object")
    tokens: dict[int, Token] = {}
    for number, token in stated.items():
        if not number.isdecimal() or not isinstance(token, dict) or text_of(token) is None:
            raise _malformed(path, f"added_tokens_decoder: {number} has no content")
        tokens[int(number)] = token
    return tokens


def _own_tokens(path: Path) -> dict[int, Token]:
    """The added tokens of a `tokenizer.json`. They stand before the vocabulary, which may have 20 MB."""
    text = read_regular(path).decode(errors="replace")
    start = text.find('"added_tokens"')
    try:
        stated, _ = json.JSONDecoder().raw_decode(text, text.index("[", start)) if start >= 0 else ([], 0)
        return {token["id"]: token for token in stated}
    except (ValueError, TypeError, KeyError, RecursionError) as error:
        raise _malformed(path, "its added_tokens cannot be read") from error


def _flags(token: Token) -> tuple[JsonValue, ...]:
    """Its text and flags; by default, only special tokens are looked up in the text as it was before normalization."""
    defaults = {"normalized": not token.get("special"), **dict.fromkeys(_OFF, False)}
    return (token["content"], *(token.get(flag, default) for flag, default in defaults.items()))


def _optional(path: Path) -> dict[str, JsonValue]:
    return read_json_object(path, _REMEDY) if path.is_file() else {}


def _malformed(path: Path, why: str) -> ModelError:
    return ModelError(f"not a tokenizer's file: {why}", where=str(path), remedy=_REMEDY)
