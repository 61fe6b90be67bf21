"""`history.jsonl`: what items cost when they ran, so that the next plan knows."""

from __future__ import annotations

from pathlib import Path

from pydantic import BaseModel, ValidationError

from qairt.engine.files import append_line, read_lines


class Cost(BaseModel):
    """What one item took."""

    stage: str
    label: str
    key: str
    seconds: float
    peak_rss: int
    bytes: int
    time: float


class History:
    """Costs of finished items, the latest last."""

    def __init__(self, state_folder: Path) -> None:
        self._path = state_folder / "history.jsonl"
        self._latest: dict[tuple[str, str], Cost] = {}
        for record in read_lines(self._path):
            try:
                cost = Cost.model_validate(record)
            except ValidationError:
                continue
            self._latest[cost.stage, cost.label] = cost

    def of(self, stage: str, label: str) -> Cost | None:
        """The last cost of this stage at this coordinate, whatever its settings were."""
        return self._latest.get((stage, label))

    def add(self, cost: Cost) -> None:
        self._latest[cost.stage, cost.label] = cost
        append_line(self._path, cost.model_dump())
