"""A `tokenizers` tokenizer from the vocabulary of a GGUF file.

Source: the splitting expressions are those of llama.cpp (`llama-vocab.cpp`) and of the tokenizer.json files the models
were published with.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from pydantic import JsonValue

from qairt.errors import ModelError
from qairt.model.gguf.file import GgufHeader

if TYPE_CHECKING:
    from tokenizers import Tokenizer

_CONTROL, _USER_DEFINED = 3, 4

_WORDS = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+"
_REST = r"| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
_LLAMA3 = _WORDS + r"|\p{N}{1,3}" + _REST
_QWEN2 = _WORDS + r"|\p{N}" + _REST
_TEKKEN = (
    r"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+"
    r"|[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+[\p{Ll}\p{Lm}\p{Lo}\p{M}]*"
    r"|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)
_EXPRESSIONS = {
    "llama-bpe": _LLAMA3,
    "llama3": _LLAMA3,
    "llama-v3": _LLAMA3,
    "qwen2": _QWEN2,
    "deepseek-r1-qwen": _QWEN2,
    "tekken": _TEKKEN,
}
_BYTE_LEVEL = ("gpt-2", "smollm")
_WHOLE_WORDS_FIRST = ("llama-bpe", "llama3", "llama-v3", "tekken")
"""Pre-tokenizers whose models look a word up in the vocabulary before they merge; they also start texts with BOS."""

_PHI3_PLAIN = ("<unk>", "<s>", "<|endoftext|>")
_OTHERWISE = "or use the model directory that the file was converted from"


def build_tokenizer(header: GgufHeader) -> tuple[Tokenizer, dict[str, JsonValue]]:
    """The tokenizer, and settings for a `tokenizer_config.json`.

    Raises:
        ModelError: no vocabulary, or an unsupported kind of tokenizer.
    """
    fields, where = header.fields, str(header.path)
    kind = fields.get("tokenizer.ggml.model")
    if kind is None or "tokenizer.ggml.tokens" not in fields:
        raise ModelError("the GGUF file has no vocabulary", where=where, remedy="convert the model with its tokenizer")
    if kind not in ("gpt2", "llama"):
        raise ModelError(
            f"a GGUF tokenizer of kind {kind!r} is not supported",
            where=where,
            remedy=f"supported: gpt2 (byte-level BPE), llama (SentencePiece BPE); {_OTHERWISE}",
        )
    tokens = _tokens(header)
    special: dict[str, str] = {}
    for role, field in _SPECIAL_TOKENS.items():
        token = fields.get(f"tokenizer.ggml.{field}_token_id")
        if isinstance(token, int) and token < len(tokens):
            special[f"{role}_token"] = tokens[token]
    if kind == "gpt2":
        pre = str(fields.get("tokenizer.ggml.pre", "default"))  # missing in old files; how to split is a guess
        tokenizer = _byte_level(header, tokens, pre)
        add_bos = fields.get("tokenizer.ggml.add_bos_token", pre in _WHOLE_WORDS_FIRST)
    else:
        tokenizer = _sentence_piece(header, tokens, special.get("unk_token"))
        add_bos = fields.get("tokenizer.ggml.add_bos_token", True)
    _add_special_tokens(tokenizer, header, tokens)
    before = special.get("bos_token") if add_bos else None
    pools = fields.get(f"{fields.get('general.architecture')}.pooling_type")  # only there llama.cpp ends a text
    after = special.get("eos_token") if pools and fields.get("tokenizer.ggml.add_eos_token") else None
    _surround_with(tokenizer, before, after)
    settings: dict[str, JsonValue] = {
        **special,
        "add_bos_token": bool(add_bos),
        "clean_up_tokenization_spaces": False,
        "tokenizer_class": "PreTrainedTokenizerFast",
    }
    return tokenizer, settings


def _tokens(header: GgufHeader) -> list[str]:
    """The vocabulary; llama.cpp names empty tokens, and stops at a text that stands twice."""
    stored = header.strings("tokenizer.ggml.tokens")
    tokens = [text or f"[EMPTY_{number}]" for number, text in enumerate(stored)]
    first: dict[str, int] = {}
    for number, text in enumerate(tokens):
        if first.setdefault(text, number) != number:
            raise _unusable(header, f"tokens {first[text]} and {number} are both {text!r}")
    return tokens


def _per_token(header: GgufHeader, key: str, tokens: list[str]) -> list[float]:
    values = header.numbers(key)
    if len(values) != len(tokens):
        raise _unusable(header, f"{key} has {len(values):,} values for {len(tokens):,} tokens")
    return values


def _unusable(header: GgufHeader, why: str) -> ModelError:
    return ModelError(
        f"the GGUF vocabulary is not usable: {why}",
        where=str(header.path),
        remedy=f"convert the model again with llama.cpp's convert_hf_to_gguf.py, {_OTHERWISE}",
    )


_SPECIAL_TOKENS = {"bos": "bos", "eos": "eos", "unk": "unknown", "pad": "padding"}
"""Hugging Face's name -> GGUF's."""


def _byte_level(header: GgufHeader, tokens: list[str], pre: str) -> Tokenizer:
    from tokenizers import Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers

    if pre not in _EXPRESSIONS and pre not in _BYTE_LEVEL:
        raise ModelError(
            f"the GGUF pre-tokenizer {pre!r} is not supported",
            where=str(header.path),
            remedy=f"supported: {', '.join((*_BYTE_LEVEL, *_EXPRESSIONS))}; {_OTHERWISE}",
        )
    merges = [_pair(merge) for merge in header.strings("tokenizer.ggml.merges")]
    vocabulary = {token: number for number, token in enumerate(tokens)}
    for pair in merges:
        for text in (*pair, "".join(pair)):
            if text not in vocabulary:
                raise _unusable(header, f"the merge {' '.join(pair)!r} needs {text!r}, which is no token")
    tokenizer = Tokenizer(models.BPE(vocabulary, merges, ignore_merges=pre in _WHOLE_WORDS_FIRST))
    if pre in _EXPRESSIONS:
        split = pre_tokenizers.Split(Regex(_EXPRESSIONS[pre]), "isolated")
        bytes_only = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
        tokenizer.pre_tokenizer = pre_tokenizers.Sequence([split, bytes_only])
    else:
        byte_level = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=True)
        digits = [pre_tokenizers.Digits(individual_digits=True)] if pre == "smollm" else []
        tokenizer.pre_tokenizer = pre_tokenizers.Sequence([*digits, byte_level])
    if pre == "qwen2":
        tokenizer.normalizer = normalizers.NFC()
    tokenizer.decoder = decoders.ByteLevel()
    return tokenizer


def _pair(merge: str) -> tuple[str, str]:
    left, _, right = merge.partition(" ")
    return left, right


def _sentence_piece(header: GgufHeader, tokens: list[str], unknown: str | None) -> Tokenizer:
    from tokenizers import Tokenizer, decoders, models, normalizers

    scores = _per_token(header, "tokenizer.ggml.scores", tokens)
    vocabulary = {token: number for number, token in enumerate(tokens)}
    merges = _merges(tokens, scores, vocabulary)
    tokenizer = Tokenizer(models.BPE(vocabulary, merges, unk_token=unknown, fuse_unk=True, byte_fallback=True))
    prefix = bool(header.fields.get("tokenizer.ggml.add_space_prefix", True))
    spaces = normalizers.Replace(" ", "▁")
    tokenizer.normalizer = normalizers.Sequence([normalizers.Prepend("▁"), spaces] if prefix else [spaces])
    strip = [decoders.Strip(" ", 1, 0)] if prefix else []
    tokenizer.decoder = decoders.Sequence(
        [decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse(), *strip]
    )
    return tokenizer


def _merges(tokens: list[str], scores: list[float], vocabulary: dict[str, int]) -> list[tuple[str, str]]:
    """SentencePiece keeps scores, not merges: all pairs of tokens that form a token, best tokens first.

    Source: `generate_merges` of transformers' slow-to-fast conversion.
    """
    merges = []
    for token, score in zip(tokens, scores, strict=True):
        parts = [(token[:cut], token[cut:]) for cut in range(1, len(token))]
        known = [(a, b) for a, b in parts if a in vocabulary and b in vocabulary]
        known.sort(key=lambda pair: (vocabulary[pair[0]], vocabulary[pair[1]]))
        merges += [(a, b, score) for a, b in known]
    merges.sort(key=lambda merge: (merge[2], len(merge[0]), len(merge[1])), reverse=True)
    return [(a, b) for a, b, _ in merges]


def _add_special_tokens(tokenizer: Tokenizer, header: GgufHeader, tokens: list[str]) -> None:
    from tokenizers import AddedToken

    if "tokenizer.ggml.token_type" not in header.fields:
        return
    types = _per_token(header, "tokenizer.ggml.token_type", tokens)
    phi3 = header.fields.get("general.architecture") == "phi3"
    for token, kind in zip(tokens, types, strict=True):
        if kind == _CONTROL:
            # As in Phi-3's tokenizer.json, its marks take the space after them; llama.cpp knows that by its name too.
            strips = phi3 and token not in _PHI3_PLAIN
            tokenizer.add_special_tokens([AddedToken(token, special=True, normalized=False, rstrip=strips)])
        elif kind == _USER_DEFINED:
            tokenizer.add_tokens([AddedToken(token, special=False, normalized=False)])


def _surround_with(tokenizer: Tokenizer, before: str | None, after: str | None) -> None:
    from tokenizers import processors

    added = [text for text in (before, after) if text is not None]
    if not added:
        return

    def template(text: str, kind: int) -> str:
        return " ".join(f"{token}:{kind}" for token in (before, text, after) if token is not None)

    tokenizer.post_processor = processors.TemplateProcessing(
        single=template("$A", 0),
        pair=f"{template('$A', 0)} {template('$B', 1)}",
        special_tokens=[(text, tokenizer.token_to_id(text)) for text in dict.fromkeys(added)],
    )
