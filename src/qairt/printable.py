"""Text of others (recipes, models, logs, file names) made safe for a terminal."""

from __future__ import annotations

import re
from collections.abc import Mapping

_UNSAFE = (
    *(code for code in range(0x20) if chr(code) not in "\t\n"),
    *range(0x7F, 0xA0),
    *(0x61C, 0x200E, 0x200F),
    *range(0x2028, 0x202F),
    *range(0x2066, 0x206A),
)
"""Control characters, with which a text moves the cursor or gives commands, and those that reverse or break lines."""

UNSAFE = re.compile(f"[{re.escape(''.join(map(chr, _UNSAFE)))}]")

_ESCAPED = {code: f"\\x{code:02x}" if code < 0x100 else f"\\u{code:04x}" for code in _UNSAFE}
_ESCAPED_IN_JSON = {code: f"\\u{code:04x}" for code in _UNSAFE}

_ESCAPE = re.compile(r"\x1b(?:\[[0-?]*[ -/]*[@-~]|\][^\x07\x1b\n]*(?:\x07|\x1b\\)|[PX^_][^\x1b\n]*\x1b\\|[ -/]*[0-~])?")
_INVISIBLE = (
    *range(0x09),
    *range(0x0B, 0x20),
    *range(0x7F, 0xA0),
    *(0xAD, 0x61C, 0x180E, 0xFEFF),
    *range(0x200B, 0x2010),
    *range(0x2028, 0x202F),
    *range(0x2060, 0x2070),
)
"""Control characters, and those that reverse or hide text. Tabs and line ends are kept."""
_REMOVED = dict.fromkeys(_INVISIBLE)


def printable(text: str) -> str:
    r"""`text` with `\x1b` for an escape, and so on; tabs and line ends are kept."""
    return text if text.isprintable() else text.translate(_ESCAPED)


def as_written(value: object) -> str:
    """A value as people write it in YAML: `true`, `null`, `'text'`, `[1, 2]`, `{a: 1}`."""
    if isinstance(value, Mapping):
        return f"{{{', '.join(f'{key}: {as_written(inner)}' for key, inner in value.items())}}}"
    if isinstance(value, (list, tuple)):
        return f"[{', '.join(map(as_written, value))}]"
    if value is None or isinstance(value, bool):
        return "null" if value is None else str(value).lower()
    return repr(value)


def printable_json(document: str) -> str:
    """A JSON document of the same meaning that is safe to print."""
    return document.translate(_ESCAPED_IN_JSON)


def readable(data: bytes) -> str:
    """Bytes of whole lines as text that is safe to show on a terminal.

    Of an overwritten line (`10 %\\r20 %`) the last state is kept. Line ends are kept.
    """
    text = data.decode(errors="replace")
    if "\r" in text:
        text = "\n".join(line.rstrip("\r").rpartition("\r")[2] for line in text.split("\n"))
    if text.isprintable():
        return text
    if "\x1b" in text:
        text = _ESCAPE.sub("", text)
    return text.translate(_REMOVED).expandtabs()
