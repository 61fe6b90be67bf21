"""Sizes, times and counts as text, and back."""

from __future__ import annotations

import re

_UNITS = {"": 1, "K": 10**3, "M": 10**6, "G": 10**9, "T": 10**12}
_SIZE = re.compile(r"(\d+(?:\.\d+)?)\s*([KMGT]?)(I?)B?", re.IGNORECASE)


def size(count: float) -> str:
    """Bytes in decimal units: `540 MB`, `1.24 GB`."""
    for unit, name in ((10**9, "GB"), (10**6, "MB"), (10**3, "kB")):
        if count >= 0.9995 * unit:
            value = count / unit
            return f"{value:.2f} {name}" if value < 9.995 and name == "GB" else f"{value:,.0f} {name}"
    return f"{count:.0f} B"


def duration(seconds: float) -> str:
    """`0.3 s`, `12.3 s`, `4 min 58 s`, `1 h 02 min`."""
    if seconds < 99.95:
        return f"{seconds:.1f} s"
    whole = round(seconds)
    if whole < 3600:
        return f"{whole // 60} min {whole % 60:02d} s"
    minutes = round(seconds / 60)
    return f"{minutes // 60} h {minutes % 60:02d} min"


def about(seconds: float) -> str:
    """The same for an estimate, which is not exact to a tenth of a second."""
    return duration(seconds) if seconds < 9.5 or seconds >= 99.5 else f"{seconds:.0f} s"


def compact(seconds: float) -> str:
    """An estimate in few columns: `2.0 s`, `298 s`, `125 min`."""
    if seconds < 9.95:
        return f"{seconds:.1f} s"
    return f"{seconds:.0f} s" if seconds < 999.5 else f"{seconds / 60:,.0f} min"


def age(seconds: float) -> str:
    """A time span in its largest unit: `3 days`."""
    for unit, name in ((86400, "day"), (3600, "hour"), (60, "minute")):
        if seconds >= unit:
            return count(int(seconds // unit), name)
    return count(max(int(seconds), 0), "second")


def short_age(seconds: float) -> str:
    """A time span in its largest unit, abbreviated: `1 min`, `3 h`, `2 days`."""
    for unit, name in ((3600, "h"), (60, "min")):
        if unit <= seconds < 86400:
            return f"{int(seconds // unit)} {name}"
    return age(seconds) if seconds >= 86400 else f"{max(int(seconds), 0)} s"


def count(number: int, noun: str, plural: str | None = None) -> str:
    """`1 item`, `1,234 items`."""
    return f"{number:,} {noun if number == 1 else plural or noun + 's'}"


def option_size(count: int) -> str:
    """Bytes as an option takes them, rounded up to four digits or more: `24013M`."""
    unit = next((unit for unit in "GMK" if count > 1000 * _UNITS[unit]), "")
    return f"{-(-count // _UNITS[unit])}{unit}"


def parse_size(text: str) -> int:
    """Bytes of `8G`, `500MB`, `1.5 GiB` or a plain number.

    Raises:
        ValueError: the text is none of these, or zero.
    """
    match = _SIZE.fullmatch(text.strip())
    if match is None:
        raise ValueError(f"{text!r} is not a size; write for example 8G, 500M or 16GiB")
    number, unit, binary = match[1], match[2].upper(), match[3]
    if binary and not unit:
        raise ValueError(f"{text!r} is not a size; write for example 8G, 500M or 16GiB")
    base = 1024 ** "KMGT".index(unit) * 1024 if binary else _UNITS[unit]
    total = int(float(number) * base)
    if total <= 0:
        raise ValueError(f"{text!r} is not above zero")
    return total
