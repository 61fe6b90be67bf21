"""Prompts are read as written, and invalid ones are reported."""

from __future__ import annotations

import io
from pathlib import Path

import pytest

from qairt.cli.prompts import prompt_and_overrides, read_prompts
from qairt.errors import GenerationError


def of_file(tmp_path: Path, data: bytes, name: str = "p.jsonl", system: str | None = None):
    (tmp_path / name).write_bytes(data)
    return read_prompts(None, tmp_path / name, system)


def fault(tmp_path: Path, data: bytes) -> GenerationError:
    with pytest.raises(GenerationError) as caught:
        of_file(tmp_path, b'"good"\n' + data)
    assert caught.value.where == f"{tmp_path / 'p.jsonl'}:2"
    return caught.value


def test_only_the_end_of_a_line_ends_a_prompt(tmp_path):
    texts = [prompt.text for prompt in of_file(tmp_path, '"a\u2028b\u0085c"\r\n\n"d"\n'.encode())]
    assert texts == ["a\u2028b\u0085c", "d"]


def test_the_mark_that_editors_on_windows_write_is_not_a_part(tmp_path):
    assert [prompt.text for prompt in of_file(tmp_path, b'\xef\xbb\xbf"a"\n')] == ["a"]
    assert [prompt.text for prompt in of_file(tmp_path, b"\xef\xbb\xbfa\n", "p.txt")] == ["a\n"]


def test_a_line_can_omit_the_system_prompt(tmp_path):
    lines = b'{"prompt": "a"}\n{"prompt": "b", "system": null}\n'
    first, second = of_file(tmp_path, lines, system="be brief")
    assert first.messages == [{"role": "system", "content": "be brief"}, {"role": "user", "content": "a"}]
    assert second.messages is None


@pytest.mark.parametrize(
    "line", [b'{"prompt": "a", "system": 5}', b'{"prompt": 5}', b"[1]", b'{"messages": []}', b"{", b'{"system": "a"}']
)
def test_a_line_that_is_no_prompt(tmp_path, line):
    assert fault(tmp_path, line).what == "this line is not a prompt"


def test_a_conversation_that_ends_with_nothing(tmp_path):
    assert fault(tmp_path, b'{"messages": [{"role": "user", "content": " "}]}').what == "the prompt is empty"


def test_what_is_not_utf_8(tmp_path, monkeypatch):
    assert fault(tmp_path, rb'"\ud800"').what == "the prompt is not UTF-8 text"
    with pytest.raises(GenerationError, match=": cannot be read: not UTF-8 text: "):
        of_file(tmp_path, b'"\xff"')
    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(b"\xff"), encoding="utf-8"))
    with pytest.raises(GenerationError, match="standard input: not UTF-8 text"):
        read_prompts("-", None, None)


@pytest.mark.parametrize(
    ("words", "optional", "prompt", "overrides"),
    [
        (["Hi", "cache_dir=x"], False, "Hi", ["cache_dir=x"]),
        (["cache_dir=x", "Hi"], False, "Hi", ["cache_dir=x"]),
        (["cache_dir=x", "Is x = 2?", "stages.a.b=3"], False, "Is x = 2?", ["cache_dir=x", "stages.a.b=3"]),
        (["x=1", "cache_dir=x"], False, "x=1", ["cache_dir=x"]),
        (["cache_dir=x"], True, None, ["cache_dir=x"]),
        ([], True, None, []),
        (["one", "two"], False, "one", ["two"]),
    ],
)
def test_a_prompt_may_stand_anywhere_among_the_overrides(words, optional, prompt, overrides):
    assert prompt_and_overrides(words, optional=optional) == (prompt, overrides)
