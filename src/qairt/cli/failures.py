"""Errors on the screen: what and where on the first line, what to do below it."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence
from typing import Any

from qairt.cli.console import say_json, styled, tell
from qairt.errors import ItemFailed, QairtError, RecipeError


def tell_error(what: str, *, where: str | None = None, remedy: str | None = None, below: Sequence[str] = ()) -> None:
    """Print one error to standard error.

    Args:
        below: more lines, such as the end of a log.
    """
    import sys

    word = styled("Error:", "bold", "red", stream=sys.stderr)
    tell(f"{word} {where}: {what}" if where else f"{word} {what}")
    if remedy:
        tell(textwrap.indent(remedy, "  "))
    for line in below:
        tell(f"  {line}")


def report(error: QairtError, *, as_json: bool = False) -> None:
    """Print an error, or each of several that came together; with `--json` to standard output too."""
    if as_json:
        say_json({"error": as_data(error)})
    if isinstance(error, ItemFailed):
        tell_item(error)
        return
    faults = error.faults if isinstance(error, RecipeError) and error.faults else [error]
    for fault in faults:
        tell_error(fault.what, where=fault.where, remedy=fault.remedy)


def as_data(error: QairtError) -> dict[str, Any]:
    """An error for scripts; several faults of a recipe are listed."""
    data = error.as_dict()
    if isinstance(error, RecipeError) and error.faults:
        data["faults"] = [fault.as_dict() for fault in error.faults]
    return data


def tell_item(error: ItemFailed, log: str = "") -> None:
    """A failed item: which, what, what to do, the end of its log and where all of it is."""
    item = f"{error.stage} {error.label}".strip()
    where = item if error.where in (None, item) else f"{item}: {error.where}"
    below = []
    if error.log_tail:
        below = ["the end of its log:", *(f"  {line}" for line in error.log_tail)]
    if log and log not in (error.remedy or ""):
        below.append(f"log: {log}")
    tell_error(error.what, where=where, remedy=error.remedy, below=below)


def tell_note(text: str) -> None:
    """Something the user should know that stops nothing."""
    import sys

    tell(f"{styled('Note:', 'bold', 'yellow', stream=sys.stderr)} {text}")
