"""What is worth telling about a model's files, though nothing in them is wrong."""

from __future__ import annotations

from dataclasses import dataclass, field


@dataclass
class Notes:
    """Collected while a model's headers are read."""

    notices: list[str] = field(default_factory=list)
    """Sentences for `check`, `plan` and the log."""
    readings: list[str] = field(default_factory=list)
    """What is read differently than by earlier versions; part of the keys of results, and empty for most models."""

    def tell(self, notice: str, *, reading: str | None = None) -> None:
        """Add a notice.

        Args:
            reading: its name in `readings`, if the model is read differently because of it.
        """
        self.notices.append(notice)
        if reading is not None:
            self.reading(reading)

    def reading(self, name: str) -> None:
        self.readings.append(name)
