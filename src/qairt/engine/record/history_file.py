"""`history.jsonl` of a cache directory: the costs of items, the finished runs and the evaluations, one JSON line each.

A field marks the kind of a line: `run` is the version of a finished run's record, `evaluation` that of an
evaluation's; the cost of an item has neither. The models of the records live with what makes them:
`qairt.engine.plan.costs`, `qairt.engine.run.history` and `qairt.evaluate.record`.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from qairt.files import append_line, read_lines

if TYPE_CHECKING:
    from pydantic import JsonValue

LineKind = Literal["cost", "run", "evaluation"]

HISTORY_FILE = "history.jsonl"


class HistoryFile:
    """The history of one cache directory; several processes may append to it at once."""

    def __init__(self, state_folder: Path) -> None:
        self.path = state_folder / HISTORY_FILE

    def append(self, record: Mapping[str, object]) -> None:
        """Add one line.

        Raises:
            OSError: the file cannot be written.
        """
        append_line(self.path, record)

    def read(self, kind: LineKind) -> list[dict[str, JsonValue]]:
        """All lines of one kind, the oldest first; damaged lines are skipped."""
        return [line for line in read_lines(self.path) if _kind_of(line) == kind]


def _kind_of(line: Mapping[str, JsonValue]) -> LineKind:
    if "run" in line:
        return "run"
    return "evaluation" if "evaluation" in line else "cost"
