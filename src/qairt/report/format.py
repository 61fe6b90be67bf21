"""Values of a report as text."""

from __future__ import annotations

from datetime import UTC, datetime

from qairt.amounts import duration, size
from qairt.report.facts import StageLine
from qairt.runtime.metrics import MAX_DB

NONE = "–"


def when(seconds: float | None) -> str:
    """`2026-11-21 16:05 UTC`: the reader may be in another time zone."""
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%d %H:%M UTC") if seconds else NONE


def amount(count: float) -> str:
    """Bytes; a dash when unknown."""
    return size(count) if count else NONE


def took(seconds: float) -> str:
    """Seconds; a dash when unknown."""
    return duration(seconds) if seconds else NONE


def decibel(value: float | None) -> str:
    """SQNR in dB; `equal` when the values are."""
    return NONE if value is None else "equal" if value >= MAX_DB else f"{value:.1f}"


def score(value: float | None) -> str:
    """`40.28`, `0.0213`."""
    return NONE if value is None else f"{value:,.2f}" if abs(value) >= 10 else f"{value:.4f}"


def percent(value: float | None, digits: int = 1) -> str:
    return NONE if value is None else f"{value:.{digits}%}"


def change(value: float | None) -> str:
    """`+16.2 %`."""
    return NONE if value is None else f"{value * 100:+.1f} %"


def rate(tokens_per_second: float | None) -> str:
    """`1,204`; a question mark when unknown."""
    return "?" if tokens_per_second is None else f"{tokens_per_second:,.0f}"


def wait(seconds: float | None) -> str:
    """`71.2 ms`, `1 min 5 s`; a question mark when unknown."""
    if seconds is None:
        return "?"
    return f"{1000 * seconds:,.1f} ms" if seconds < 1 else duration(seconds)


def ratio(part: float, whole: float) -> str:
    """How many times smaller or larger, such as `÷ 8.0`; a dash when about equal."""
    if not part or not whole or 0.95 < part / whole < 1.05:
        return NONE
    return f"÷ {whole / part:.1f}" if part < whole else f"× {part / whole:.1f}"


def items(stage: StageLine) -> str:
    """`8 built, 2 reused`."""
    parts = [
        (stage.built, "built"),
        (stage.cached, "reused"),
        (stage.failed, "failed"),
        (stage.on_demand, "on demand"),
        (stage.pending, "not built"),
    ]
    return ", ".join(f"{number}\u00a0{word}" for number, word in parts if number) or NONE
