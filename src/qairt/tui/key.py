"""One key: what it does, and how it is named."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

MonitorAction = Literal[
    "open",
    "why",
    "log",
    "plan",
    "runs",
    "cache",
    "clear",
    "undo",
    "copy",
    "copy_command",
    "stream",
    "stream_item",
    "cancel_item",
    "cancel_run",
    "pause",
    "retry",
    "detach",
    "results",
    "needs",
]
"""What the monitor's `request(...)` keys ask of the app."""


@dataclass(frozen=True)
class Key:
    """One action and the keys that trigger it."""

    id: str
    """`<scope>.<name>`, unique; what users remap."""
    keys: str
    """Default keys as Textual names them, separated by commas."""
    action: str
    label: str
    """For the footer: one or two words."""
    help: str
    """For the help screen: a sentence."""
    footer: bool = False
    """Whether the footer shows it."""
