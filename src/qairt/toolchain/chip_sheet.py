"""What is published about the memory and the NPU of each chip. Nothing here was measured by us.

Peak bandwidth is the clock of the memory, twice (double data rate), times the width of the bus; no program reaches it.
Where a number is not published it is None, and whoever asks must give one.
"""

from __future__ import annotations

from dataclasses import dataclass

from qairt.errors import RecipeError
from qairt.toolchain.soc import SOCS

_BRIEF = "Qualcomm's product brief"
_MOST = 1_000_000
"""GB/s or TOPS that may be given."""


@dataclass(frozen=True)
class ChipSheet:
    """Published figures of a chip."""

    bandwidth: float | None = None
    """Peak memory bandwidth in bytes a second; None if it is not published."""
    bandwidth_source: str = "not published"
    tops: float | None = None
    """Peak of the NPU for 8-bit integers, in 1e12 operations a second; None if it is not published."""
    tops_source: str = "not published"


def _phone(memory: str, megahertz: int) -> ChipSheet:
    """Phones' chips have four 16-bit channels; Qualcomm publishes no figure for their NPU alone."""
    return ChipSheet(megahertz * 1e6 * 2 * 8, f"{memory} at {megahertz:,} MHz on 64 bits, {_BRIEF}")


SHEETS = {name: ChipSheet() for name in SOCS} | {
    "SM8350": _phone("LPDDR5", 3200),
    "SM8450": _phone("LPDDR5", 3200),
    "SM8475": _phone("LPDDR5", 3200),
    "SM8550": _phone("LPDDR5X", 4200),
    "SM8650": _phone("LPDDR5X", 4800),
    "SM8750": _phone("LPDDR5X", 5300),
    "SM8850": _phone("LPDDR5X", 5300),
    "SC8380XP": ChipSheet(135e9, _BRIEF, 45, _BRIEF),
    "SC8480XP": ChipSheet(152e9, f"{_BRIEF}; 228 for X2 Elite Extreme", 80, _BRIEF),
}
"""By the names of `qairt.toolchain.soc.SOCS`."""


def sheet_of(name: str, *, bandwidth_gb_s: float | None = None, tops: float | None = None) -> ChipSheet:
    """The figures of a chip, with those that the user gives in place of ours.

    Args:
        bandwidth_gb_s: memory bandwidth in 1e9 bytes a second.
        tops: peak of the NPU in 1e12 operations a second.

    Raises:
        RecipeError: a given number is not positive, or more than any chip has.
    """
    sheet = SHEETS[name]
    for option, value, unit in (("--bandwidth", bandwidth_gb_s, "GB/s"), ("--tops", tops, "TOPS")):
        if value is not None and not 0 < value <= _MOST:
            what = f"{value:g} {unit} is not the figure of a chip"
            raise RecipeError(what, where=option, remedy=f"give a number above 0, up to {_MOST:,}")
    return ChipSheet(
        *((bandwidth_gb_s * 1e9, "given") if bandwidth_gb_s is not None else (sheet.bandwidth, sheet.bandwidth_source)),
        *((tops, "given") if tops is not None else (sheet.tops, sheet.tops_source)),
    )
