"""Reporting progress to whoever asked for the work."""

from __future__ import annotations

from collections.abc import Callable

Notify = Callable[[str], None]
"""Takes one line of text for the user: what has started, how long it takes, what it produced."""


def silent(line: str) -> None:
    """The `Notify` that drops its line."""
