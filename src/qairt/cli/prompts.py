"""Prompts from the command line, a file or standard input."""

from __future__ import annotations

import json
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from qairt.errors import GenerationError

LINES = ".jsonl"


@dataclass(frozen=True)
class Prompt:
    """One question, as it was given."""

    text: str
    """The user's words; the last of a conversation."""
    messages: list[dict[str, Any]] | None
    """The conversation; None for the user's words alone, which a model without chat template goes on from."""

    @property
    def asked(self) -> str | list[dict[str, Any]]:
        """As `qairt.runtime.generate` takes it."""
        return self.text if self.messages is None else self.messages


def read_prompts(prompt: str | None, file: Path | None, system: str | None) -> list[Prompt]:
    """
    Args:
        prompt: the words themselves; `-` for standard input.
        file: one prompt, or with the ending `.jsonl` one on each line: a JSON string, `{"prompt": …, "system": …}`, or
            `{"messages": [{"role": …, "content": …}, …]}`.
        system: what the model is told before the user's words, where a line does not say otherwise.

    Raises:
        GenerationError: there is none, there are two, one is empty, or a line is not of these forms; names the line.
    """
    if (prompt is None) == (file is None):
        raise GenerationError(
            "there is no prompt" if prompt is None else "there are two prompts",
            where="prompt",
            remedy='give it as an argument ("What is …?"), or by --prompt-file FILE, or - for standard input',
        )
    if prompt is not None:
        return [_of(_from_standard_input() if prompt == "-" else prompt, system, "prompt")]
    assert file is not None
    try:
        text = file.read_text(encoding="utf-8-sig")  # editors on Windows begin with a mark
    except (OSError, UnicodeDecodeError) as error:
        what = error.strerror if isinstance(error, OSError) else f"it is not UTF-8 text: {error}"
        raise GenerationError(f"it cannot be read: {what}", where=str(file), remedy="give a text file") from error
    if file.suffix != LINES:
        return [_of(text, system, str(file))]
    lines = [(f"{file}:{number}", line) for number, line in enumerate(text.split("\n"), 1) if line.strip()]
    if not lines:
        raise GenerationError("it is empty", where=str(file), remedy="give one prompt a line")
    return [_of_line(line, system, where) for where, line in lines]


def _from_standard_input() -> str:
    try:
        return sys.stdin.read()
    except UnicodeDecodeError as error:
        raise GenerationError(
            f"it is not UTF-8 text: {error}", where="standard input", remedy="give UTF-8 text"
        ) from error


def _of_line(line: str, system: str | None, where: str) -> Prompt:
    try:
        given = json.loads(line)
    except ValueError as error:
        raise _no_prompt(where) from error
    if isinstance(given, str):
        return _of(given, system, where)
    if isinstance(given, dict) and given.keys() <= {"prompt", "system"} and _is_prompt(given):
        return _of(given["prompt"], given.get("system", system), where)
    if isinstance(given, dict) and given.keys() == {"messages"} and _are_messages(given["messages"]):
        messages = given["messages"]
        if system is not None and messages[0]["role"] != "system":
            messages = [{"role": "system", "content": system}, *messages]
        return Prompt(_said(messages[-1]["content"], where), messages)
    raise _no_prompt(where)


def _of(text: str, system: str | None, where: str) -> Prompt:
    text = _said(text, where)
    if system is None:
        return Prompt(text, None)
    return Prompt(text, [{"role": "system", "content": system}, {"role": "user", "content": text}])


def _said(text: str, where: str) -> str:
    if not text.strip():
        raise GenerationError("the prompt is empty", where=where, remedy="give a prompt")
    try:
        text.encode()
    except UnicodeEncodeError as error:
        raise GenerationError("the prompt is not UTF-8 text", where=where, remedy="give UTF-8 text") from error
    return text


def _is_prompt(given: dict[str, Any]) -> bool:
    return isinstance(given.get("prompt"), str) and isinstance(given.get("system"), str | None)


def _are_messages(given: Any) -> bool:
    return (
        isinstance(given, list)
        and len(given) > 0
        and all(
            isinstance(each, dict) and isinstance(each.get("role"), str) and isinstance(each.get("content"), str)
            for each in given
        )
    )


def _no_prompt(where: str) -> GenerationError:
    return GenerationError(
        "this line is not a prompt",
        where=where,
        remedy='write "…", {"prompt": "…", "system": "…"} or {"messages": [{"role": "user", "content": "…"}]}',
    )
