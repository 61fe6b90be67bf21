"""Text to token ids and back, and the chat template, as published with the model."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from pydantic import JsonValue

from qairt.errors import ModelError
from qairt.files import read_regular
from qairt.model.chat import Message, render_chat
from qairt.model.json_file import read_json_object
from qairt.model.tokenizer_files import NAMED, Token, read_tokenizer_files, text_of

if TYPE_CHECKING:
    from tokenizers import Tokenizer as FastTokenizer


class Tokenizer:
    """A `tokenizers` tokenizer with the settings of the files beside it."""

    def __init__(self, fast: FastTokenizer, settings: dict[str, JsonValue], chat_template: JsonValue) -> None:
        """
        Args:
            fast: the underlying tokenizer.
            settings: `tokenizer_config.json`, without the chat template.
            chat_template: Jinja, or a list of named templates; None for a base model.
        """
        # Padding and truncation saved with a model would silently change lengths.
        fast.no_padding()
        fast.no_truncation()
        self.fast = fast
        self.settings = settings
        self.chat_template = _named_template(chat_template, "default")
        self.tool_template = _named_template(chat_template, "tool_use") or self.chat_template
        """The template for conversations with tools."""

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
        files = read_tokenizer_files(directory)
        _add_tokens(fast, files.added)
        settings = dict(files.settings)
        stated = settings.pop("chat_template", None)
        return cls(fast, settings, chat_template_in(directory, stated))

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
        return text_of(self.settings.get(kind))

    def apply_chat_template(
        self,
        messages: Sequence[Message],
        *,
        add_generation_prompt: bool = True,
        tools: Sequence[Mapping[str, object]] | None = None,
    ) -> str:
        """The prompt for a conversation, up to where the assistant answers.

        Args:
            tools: functions that the model may call, each with its JSON schema.

        Raises:
            ModelError: the model has no chat template, or it rejects these messages.
        """
        template = self.chat_template if tools is None else self.tool_template
        if template is None:
            raise ModelError(
                "the model has no chat template",
                remedy="use a prompt without a template, or an instruction-tuned model",
            )
        roles = (role for role in self.settings if role.endswith("_token"))
        named = {role: text for role in roles if (text := self.special_token(role)) is not None}
        return render_chat(
            template, messages, tools=tools, documents=None, add_generation_prompt=add_generation_prompt, **named
        )

    def save(self, directory: str | Path) -> list[Path]:
        """Write `tokenizer.json`, `tokenizer_config.json`, `special_tokens_map.json` and, if there is one,
        `chat_template.jinja`; always the same bytes.

        Returns:
            The files written.
        """
        directory = Path(directory)
        directory.mkdir(parents=True, exist_ok=True)
        special = {kind: text for kind in NAMED if (text := self.special_token(kind)) is not None}
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


def chat_template_in(directory: Path, stated: JsonValue) -> JsonValue:
    """The chat template of a model directory, or its named templates; None for a base model.

    Args:
        stated: the template in its tokenizer's settings.

    Raises:
        ModelError: a file that may hold it is not JSON.
    """
    return _template_file(directory) or stated or _legacy_template(directory)


def _add_tokens(fast: FastTokenizer, tokens: Iterable[Token]) -> None:
    from tokenizers import AddedToken

    for token in tokens:
        flags = {flag: bool(token[flag]) for flag in ("single_word", "lstrip", "rstrip", "normalized") if flag in token}
        fast.add_tokens([AddedToken(str(token["content"]), special=bool(token.get("special")), **flags)])


def _template_file(directory: Path) -> str | None:
    path = directory / "chat_template.jinja"
    return read_regular(path).decode() if path.is_file() else None


def _legacy_template(directory: Path) -> JsonValue:
    path = directory / "chat_template.json"
    return read_json_object(path).get("chat_template") if path.is_file() else None


def _named_template(stated: JsonValue, name: str) -> str | None:
    """A single template is the default."""
    if isinstance(stated, list):
        named = {entry.get("name"): entry.get("template") for entry in stated if isinstance(entry, dict)}
        stated = named.get(name)
    elif name != "default":
        return None
    return stated if isinstance(stated, str) else None
