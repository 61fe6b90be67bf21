"""Prompts from the command line, a file or standard input."""

from __future__ import annotations

import re
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeGuard

from qairt.errors import GenerationError
from qairt.files import parse_json, read_text

LINES = ".jsonl"
_OVERRIDE = re.compile(r"[a-z]\w*(\.\w+)*=\S*")


Message = dict[str, str]
"""`{"role": …, "content": …}`"""
Conversation = str | list[Message]
"""The user's words alone, or the messages of a conversation."""


@dataclass(frozen=True)
class Prompt:
    """One prompt."""

    text: str
    """The user's words; the last of a conversation."""
    messages: list[Message] | None
    """The conversation; None for the user's words alone, which a model without chat template continues."""

    @property
    def content(self) -> Conversation:
        """As `qairt.runtime.generate` takes it."""
        return self.text if self.messages is None else self.messages


def prompt_and_overrides(words: Sequence[str], *, optional: bool = False) -> tuple[str | None, list[str]]:
    """The prompt, wherever it stands among the `KEY=VALUE` words: the first that has another form. Where all have it,
    the first is the prompt, or none if a prompt is `optional`."""
    place = next((at for at, word in enumerate(words) if not _OVERRIDE.fullmatch(word)), None)
    if place is None:
        if optional or not words:
            return None, list(words)
        place = 0
    return words[place], [*words[:place], *words[place + 1 :]]


def texts_and_overrides(words: Sequence[str]) -> tuple[list[str], list[str]]:
    """The texts and the `KEY=VALUE` words; where all words have that form, they are texts."""
    overrides = [word for word in words if _OVERRIDE.fullmatch(word)]
    if len(overrides) == len(words):
        return list(words), []
    return [word for word in words if not _OVERRIDE.fullmatch(word)], overrides


def read_prompts(prompt: str | None, file: Path | None, system: str | None) -> list[Prompt]:
    """
    Args:
        prompt: the prompt itself; `-` for standard input.
        file: one prompt; or, if it ends in `.jsonl`, one per line: a JSON string, `{"prompt": …, "system": …}`, or
            `{"messages": [{"role": …, "content": …}, …]}`.
        system: the system prompt, unless a line has its own.

    Raises:
        GenerationError: there is no prompt, there are two, one is empty, or a line has none of these forms.
    """
    if (prompt is None) == (file is None):
        raise GenerationError(
            "there is no prompt" if prompt is None else "there are two prompts",
            where="prompt",
            remedy='give it as an argument ("What is …?"), by --prompt-file FILE, or give - for standard input',
        )
    if prompt is not None:
        return [_with_system(_from_standard_input() if prompt == "-" else prompt, system, "prompt")]
    assert file is not None
    try:
        text = read_text(file).removeprefix("\ufeff")  # editors on Windows begin with a mark
    except (OSError, UnicodeDecodeError) as error:
        what = error.strerror if isinstance(error, OSError) else f"not UTF-8 text: {error}"
        raise GenerationError(f"cannot be read: {what}", where=str(file), remedy="give a text file") from error
    if file.suffix != LINES:
        return [_with_system(text, system, str(file))]
    lines = [(f"{file}:{number}", line) for number, line in enumerate(text.split("\n"), 1) if line.strip()]
    if not lines:
        raise GenerationError("the file is empty", where=str(file), remedy="give one prompt per line")
    return [_from_line(line, system, where) for where, line in lines]


def _from_standard_input() -> str:
    try:
        return sys.stdin.read()
    except UnicodeDecodeError as error:
        raise GenerationError(f"not UTF-8 text: {error}", where="standard input", remedy="give UTF-8 text") from error


def _from_line(line: str, system: str | None, where: str) -> Prompt:
    try:
        content: object = parse_json(line)
    except ValueError as error:
        raise _not_a_prompt(where) from error
    if isinstance(content, str):
        return _with_system(content, system, where)
    if not isinstance(content, dict):
        raise _not_a_prompt(where)
    text, own_system, messages = content.get("prompt"), content.get("system"), content.get("messages")
    if content.keys() <= {"prompt", "system"} and isinstance(text, str) and isinstance(own_system, str | None):
        return _with_system(text, own_system if "system" in content else system, where)
    if content.keys() == {"messages"} and _are_messages(messages):
        if system is not None and messages[0]["role"] != "system":
            messages = [{"role": "system", "content": system}, *messages]
        return Prompt(_checked(messages[-1]["content"], where), messages)
    raise _not_a_prompt(where)


def _with_system(text: str, system: str | None, where: str) -> Prompt:
    text = _checked(text, where)
    if system is None:
        return Prompt(text, None)
    return Prompt(text, [{"role": "system", "content": system}, {"role": "user", "content": text}])


def _checked(text: str, where: str) -> str:
    if not text.strip():
        raise GenerationError("the prompt is empty", where=where, remedy="give a prompt")
    try:
        text.encode()
    except UnicodeEncodeError as error:
        raise GenerationError("the prompt is not UTF-8 text", where=where, remedy="give UTF-8 text") from error
    return text


def _are_messages(content: object) -> TypeGuard[list[Message]]:
    return (
        isinstance(content, list)
        and len(content) > 0
        and all(
            isinstance(each, dict) and isinstance(each.get("role"), str) and isinstance(each.get("content"), str)
            for each in content
        )
    )


def _not_a_prompt(where: str) -> GenerationError:
    return GenerationError(
        "this line is not a prompt",
        where=where,
        remedy='write "…", {"prompt": "…", "system": "…"} or {"messages": [{"role": "user", "content": "…"}]}',
    )
