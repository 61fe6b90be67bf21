"""What was measured already, piece by piece, so that an evaluation that was killed goes on."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from qairt import keys
from qairt.evaluate.metric import Metric, plain_arguments
from qairt.files import append_line, read_lines

FOLDER = "evaluate"
_DIGITS = 20  # of a digest; enough that no two pieces are ever taken for each other


class Measured:
    """A file of JSON lines `{"metric", "piece", "found"}`, one for each chunk or prompt that a metric has measured.

    A piece is known by its content: the same chunk of tokens is never measured twice on the same model.
    """

    def __init__(self, state_folder: Path, identity: str) -> None:
        """
        Args:
            identity: a digest of the model and the target.
        """
        self.path = state_folder / FOLDER / f"{identity[:_DIGITS]}.jsonl"
        self._known: dict[tuple[str, str], Mapping[str, Any]] = {}
        for line in read_lines(self.path):
            found = line.get("found")
            if isinstance(found, dict):
                self._known[str(line.get("metric")), str(line.get("piece"))] = found

    def get(self, metric: Metric, piece: str) -> Mapping[str, Any] | None:
        """What a metric found, None where it has not measured this yet."""
        return self._known.get((_name(metric), piece))

    def add(self, metric: Metric, piece: str, found: Mapping[str, Any]) -> None:
        """Keep it."""
        self.path.parent.mkdir(parents=True, exist_ok=True)
        self._known[_name(metric), piece] = found
        append_line(self.path, {"metric": _name(metric), "piece": piece, "found": dict(found)})


def piece_of(content: Any) -> str:
    """A digest of what is measured as one piece."""
    return keys.digest(content)[:_DIGITS]


def _name(metric: Metric) -> str:
    arguments = {name: value for name, value in plain_arguments(metric).items() if name not in metric.names_pieces}
    return f"{metric.name}/{metric.version}" + (f" {keys.canonical(arguments)}" if arguments else "")
