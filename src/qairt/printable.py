"""Text of others (recipes, models, logs, file names) made safe for a terminal."""

from __future__ import annotations

import re

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


def printable(text: str) -> str:
    r"""`text` with `\x1b` for an escape, and so on; tabs and line ends are kept."""
    return text if text.isprintable() else text.translate(_ESCAPED)


def printable_json(document: str) -> str:
    """A JSON document of the same meaning that is safe to print."""
    return document.translate(_ESCAPED_IN_JSON)
