"""What a check says of one thing it looked at."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True)
class Finding:
    """One thing that was looked at."""

    subject: str
    status: Literal["ok", "warning", "error"]
    text: str
    remedy: str | None = None
