"""Errors on standard error: what and where on the first line, the remedy below."""

from __future__ import annotations

import sys
import textwrap
from collections.abc import Sequence
from typing import TYPE_CHECKING

from qairt.cli.console import emit_json, report, styled

if TYPE_CHECKING:
    from qairt.errors import ItemFailed, QairtError


def report_error(
    what: str, *, where: str | None = None, remedy: str | None = None, details: Sequence[str] = ()
) -> None:
    """Print one error.

    Args:
        details: more lines, such as the end of a log.
    """
    word = styled("Error:", "bold", "red", stream=sys.stderr)
    report(f"{word} {where}: {what}" if where else f"{word} {what}")
    if remedy:
        report(textwrap.indent(remedy, "  "))
    for line in details:
        report(f"  {line}")


def report_failure(error: QairtError, *, as_json: bool = False) -> None:
    """Print an error, or each fault of a recipe; `as_json` prints it to standard output too."""
    from qairt.errors import ItemFailed, RecipeError

    if as_json:
        emit_json({"error": as_data(error)})
    if isinstance(error, ItemFailed):
        report_item(error)
        return
    faults = error.faults if isinstance(error, RecipeError) and error.faults else [error]
    for fault in faults:
        report_error(fault.what, where=fault.where, remedy=fault.remedy)


def as_data(error: QairtError) -> dict[str, object]:
    """An error for scripts; several faults of a recipe are a list."""
    from qairt.errors import RecipeError

    data: dict[str, object] = {**error.as_dict()}
    if isinstance(error, RecipeError) and error.faults:
        data["faults"] = [fault.as_dict() for fault in error.faults]
    return data


def report_item(error: ItemFailed, log: str = "") -> None:
    """Print a failed item: what failed, the remedy, the end of its log, and the path of the log."""
    item = f"{error.stage} {error.label}".strip()
    where = item if error.where in (None, item) else f"{item}: {error.where}"
    details = []
    if error.log_tail:
        details = ["the end of its log:", *(f"  {line}" for line in error.log_tail)]
    if log and log not in (error.remedy or ""):
        details.append(f"log: {log}")
    report_error(error.what, where=where, remedy=error.remedy, details=details)


def report_note(text: str) -> None:
    """Print something the user should know that stops nothing."""
    report(f"{styled('Note:', 'bold', 'yellow', stream=sys.stderr)} {text}")
