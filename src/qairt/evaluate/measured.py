"""Results stored piece by piece, so that an evaluation that was killed resumes."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from qairt import keys
from qairt.evaluate.metric import Metric, plain_arguments
from qairt.files import append_line, read_lines

FOLDER = "evaluate"
_DIGITS = 20  # of a digest: enough that no two pieces collide

PieceResult = Mapping[str, float | str]


class MeasuredPieces:
    """A file of JSON lines `{"metric", "piece", "found"}`, one per chunk or prompt that a metric has measured.

    A piece is known by its content: the same chunk of tokens is never measured twice on the same model.
    """

    def __init__(self, state_folder: Path, identity: str) -> None:
        """
        Args:
            identity: a digest of the model and the target.
        """
        self.path = state_folder / FOLDER / f"{identity[:_DIGITS]}.jsonl"
        self._known: dict[tuple[str, str], PieceResult] = {}
        for line in read_lines(self.path):
            result = line.get("found")
            if isinstance(result, dict):
                numbers = {name: value for name, value in result.items() if isinstance(value, (int, float, str))}
                self._known[str(line.get("metric")), str(line.get("piece"))] = numbers

    def get(self, metric: Metric, piece: str) -> PieceResult | None:
        """The stored result; None when the metric has not measured this piece yet."""
        return self._known.get((_name(metric), piece))

    def add(self, metric: Metric, piece: str, result: PieceResult) -> None:
        """Store a result."""
        self.path.parent.mkdir(parents=True, exist_ok=True)
        self._known[_name(metric), piece] = result
        append_line(self.path, {"metric": _name(metric), "piece": piece, "found": dict(result)})


def piece_of(content: object) -> str:
    """A digest of what is measured as one piece."""
    return keys.digest(content)[:_DIGITS]


def _name(metric: Metric) -> str:
    arguments = {name: value for name, value in plain_arguments(metric).items() if name not in metric.data_arguments}
    return f"{metric.name}/{metric.version}" + (f" {keys.canonical(arguments)}" if arguments else "")
