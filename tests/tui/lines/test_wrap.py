"""Breaking values into lines."""

from __future__ import annotations

import pytest
from rich.cells import cell_len

from qairt.tui.lines.wrap import wrapped


@pytest.mark.parametrize(
    ("text", "width", "lines"),
    [
        ("short", 9, ["short"]),
        ("one two three", 7, ["one two", "three"]),
        ("cache/convert/convert_12345678", 16, ["cache/convert/", "convert_12345678"]),
        ("generate_context_binary split2", 20, ["generate_context_", "binary split2"]),
        ("843c25112adecb59fe8c", 8, ["843c2511", "2adecb59", "fe8c"]),
        ("anything at all", 0, ["anything at all"]),
        ("", 5, [""]),
    ],
)
def test_lines(text: str, width: int, lines: list[str]) -> None:
    assert list(wrapped(text, width)) == lines


def test_wide_characters() -> None:
    lines = list(wrapped("日本語の長い名前/もう一つ", 7))
    assert all(cell_len(line) <= 7 for line in lines)
    assert "".join(lines) == "日本語の長い名前/もう一つ"
