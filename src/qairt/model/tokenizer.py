"""Text to token ids and back, and the chat template, as published with the model."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from pydantic import JsonValue

from qairt.errors import ModelError
from qairt.files import read_json, read_regular
from qairt.model.chat import Message, render_chat

if TYPE_CHECKING:
    from tokenizers import Tokenizer as FastTokenizer

_SPECIAL = ("bos_token", "eos_token", "unk_token", "pad_token")


class Tokenizer:
    """A `tokenizers` tokenizer with the settings of the files beside it."""

    def __init__(self, fast: FastTokenizer, settings: dict[str, JsonValue], chat_template: str | None) -> None:
        """
        Args:
            fast: the underlying tokenizer.
            settings: `tokenizer_config.json`, without the chat template.
            chat_template: Jinja, or None for a base model.
        """
        # Padding and truncation saved with a model would silently change lengths.
        fast.no_padding()
        fast.no_truncation()
        self.fast = fast
        self.settings = settings
        self.chat_template = chat_template

    @classmethod
    def open(cls, path: str | Path) -> Tokenizer:
        """The tokenizer of a model directory or a .gguf file; see `from_directory` and `from_gguf`."""
        path = Path(path)
        return cls.from_directory(path) if path.is_dir() else cls.from_gguf(path)

    @classmethod
    def from_directory(cls, directory: str | Path) -> Tokenizer:
        """Read `tokenizer.json`, `tokenizer_config.json` and the chat template of a model directory.

        Raises:
            ModelError: there is no `tokenizer.json`, or it cannot be read.
        """
        from tokenizers import Tokenizer as FastTokenizer

        directory = Path(directory)
        path = directory / "tokenizer.json"
        if not path.is_file():
            held = "; tokenizer.model is not supported" if (directory / "tokenizer.model").is_file() else ""
            raise ModelError(
                f"the model directory has no tokenizer.json{held}",
                where=str(directory),
                remedy="write one with transformers: AutoTokenizer.from_pretrained(…).save_pretrained(directory)",
            )
        try:
            fast = FastTokenizer.from_file(str(path))
        except Exception as error:  # the library raises plain Exception
            raise ModelError(f"not a tokenizer: {error}", where=str(path), remedy="download it again") from error
        settings = _json(directory / "special_tokens_map.json") | _json(directory / "tokenizer_config.json")
        settings.pop("chat_template", None)
        return cls(fast, settings, chat_template_in(directory))

    @classmethod
    def from_gguf(cls, path: str | Path) -> Tokenizer:
        """Build it from the vocabulary and merges of a GGUF file.

        Raises:
            ModelError: an unsupported kind of tokenizer; lists the supported ones.
        """
        from qairt.model.gguf.file import read_gguf_header
        from qairt.model.gguf.tokenizer import build_tokenizer

        header = read_gguf_header(Path(path))
        fast, settings = build_tokenizer(header)
        template = header.fields.get("tokenizer.chat_template")
        return cls(fast, settings, template if isinstance(template, str) else None)

    def encode(self, text: str, *, add_special_tokens: bool = False) -> list[int]:
        """Token ids. A rendered chat template already contains its special tokens; plain text needs
        `add_special_tokens` if the model expects a beginning-of-text token."""
        return list(self.fast.encode(text, add_special_tokens=add_special_tokens).ids)

    def decode(self, ids: Sequence[int], *, skip_special_tokens: bool = True) -> str:
        return str(self.fast.decode(list(ids), skip_special_tokens=skip_special_tokens))

    def decode_stream(self, ids: Iterable[int], *, skip_special_tokens: bool = True) -> Iterator[str]:
        """The text of `ids` in pieces, as tokens arrive. Bytes of an incomplete character wait for the rest, so that
        the joined pieces equal what `decode` returns."""
        from tokenizers.decoders import DecodeStream

        stream = DecodeStream(skip_special_tokens=skip_special_tokens)
        seen: list[int] = []
        given = 0
        for token in ids:
            seen.append(token)
            piece = stream.step(self.fast, token)
            if piece:
                given += len(piece)
                yield piece
        rest = self.decode(seen, skip_special_tokens=skip_special_tokens)[given:]
        if rest:
            yield rest

    def special_token(self, kind: str) -> str | None:
        """The text of `bos_token`, `eos_token`, `unk_token` or `pad_token`."""
        value = self.settings.get(kind)
        text = value.get("content") if isinstance(value, dict) else value
        return text if isinstance(text, str) else None

    def apply_chat_template(self, messages: Sequence[Message], *, add_generation_prompt: bool = True) -> str:
        """The prompt for a conversation, up to where the assistant answers.

        Raises:
            ModelError: the model has no chat template, or it rejects these messages.
        """
        if self.chat_template is None:
            raise ModelError(
                "the model has no chat template",
                remedy="use a prompt without a template, or an instruction-tuned model",
            )
        special = {kind: self.special_token(kind) or "" for kind in _SPECIAL}
        return render_chat(self.chat_template, messages, add_generation_prompt=add_generation_prompt, **special)

    def save(self, directory: str | Path) -> list[Path]:
        """Write `tokenizer.json`, `tokenizer_config.json`, `special_tokens_map.json` and, if there is one,
        `chat_template.jinja`; always the same bytes.

        Returns:
            The files written.
        """
        directory = Path(directory)
        directory.mkdir(parents=True, exist_ok=True)
        special = {kind: text for kind in _SPECIAL if (text := self.special_token(kind)) is not None}
        contents = {
            "tokenizer.json": self.fast.to_str(pretty=True),
            "tokenizer_config.json": json.dumps(self.settings, indent=2, ensure_ascii=False, sort_keys=True),
            "special_tokens_map.json": json.dumps(special, indent=2, ensure_ascii=False, sort_keys=True),
        }
        if self.chat_template is not None:
            contents["chat_template.jinja"] = self.chat_template
        for name, text in contents.items():
            end = "" if name.endswith(".jinja") else "\n"
            (directory / name).write_bytes((text + end).encode())
        return [directory / name for name in contents]


def chat_template_in(directory: Path) -> str | None:
    """The chat template of a model directory; None for a base model.

    Raises:
        ModelError: a file that may hold it is not JSON.
    """
    stated = _json(directory / "special_tokens_map.json") | _json(directory / "tokenizer_config.json")
    return _template_file(directory) or _default_template(stated.get("chat_template"))


def _json(path: Path) -> dict[str, JsonValue]:
    if not path.is_file():
        return {}
    try:
        stated = read_json(path)
    except ValueError as error:
        raise ModelError(f"not JSON: {error}", where=str(path), remedy="download it again") from error
    return stated if isinstance(stated, dict) else {}


def _template_file(directory: Path) -> str | None:
    jinja = directory / "chat_template.jinja"
    if jinja.is_file():
        return read_regular(jinja).decode()
    return _default_template(_json(directory / "chat_template.json").get("chat_template"))


def _default_template(stated: JsonValue) -> str | None:
    """The template, or the default of several named ones."""
    if isinstance(stated, list):
        named = {entry.get("name"): entry.get("template") for entry in stated if isinstance(entry, dict)}
        stated = named.get("default")
    return stated if isinstance(stated, str) else None
