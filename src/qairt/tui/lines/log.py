"""The level and time of the lines that a tool writes."""

from __future__ import annotations

import re

from qairt.engine.record.tool_lines import is_harmless

ERROR = re.compile(r"(?:error|exception)s?\b|\b(?:fail(?:ed|s|ure)?|traceback|fatal|critical)\b", re.IGNORECASE)
"""Matches in lines that report an error."""
ERROR_WORDS = (b"error", b"exception", b"fail", b"traceback", b"fatal", b"critical")
"""Every such line contains one of these, in lower case."""
_NO_ERROR = re.compile(r"\b(?:0|no|without) (?:errors?|failures?)\b|\b(?:errors?|failures?|failed)\s*[:=]\s*0\b", re.I)
_WARNING = re.compile(r"\bwarn\b|warnings?\b", re.IGNORECASE)

_CLOCK = re.compile(r"\s*\[?(?:\d{4}-\d\d-\d\d[T ])?(\d\d):(\d\d):(\d\d)(?:[.,](\d{1,9}))?\b")
_SINCE_START = re.compile(r"\s*\[?\s*(\d+(?:\.\d+)?)\s?ms\b")
_DAY = 86_400.0


def level_of(text: str) -> str:
    """`error`, `warning` or empty, judged by the words of a line; `note` for what is known to mean nothing."""
    if is_harmless(text):
        return "note"
    if ERROR.search(text) and ERROR.search(_NO_ERROR.sub("", text)):
        return "error"
    return "warning" if _WARNING.search(text) else ""


def time_of(text: str) -> float | None:
    """The time a line starts with, in seconds of the day or since its tool started; None if it starts with neither."""
    if match := _CLOCK.match(text):
        hours, minutes, seconds, fraction = match.groups()
        return 3600 * int(hours) + 60 * int(minutes) + int(seconds) + float(f"0.{fraction or 0}")
    if match := _SINCE_START.match(text):
        return float(match[1]) / 1000
    return None


def since(first: float, moment: float) -> str:
    """Time from one line to a later one, in at most eight columns: `+0:04:12`. May cross midnight."""
    whole = int((moment - first) % _DAY)
    return f"+{whole // 3600}:{whole // 60 % 60:02d}:{whole % 60:02d}"
