"""How quantization runs, as opposed to what it computes."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

Progress = Callable[[float, str], None]
"""Called with the fraction done, 0 … 1, and what is being done."""


def within(progress: Progress, start: float, stop: float, what: str = "") -> Progress:
    """The progress of a part of the work that covers `start` … `stop`, its messages prefixed by `what`."""
    prefix = f"{what}: " if what else ""
    return lambda fraction, message: progress(start + fraction * (stop - start), prefix + message)


def no_progress(fraction: float, message: str) -> None:
    """The `Progress` that reports nothing."""


@dataclass(frozen=True)
class Execution:
    """Where the work runs and what keeps its state. The number of threads and a resume do not change the result."""

    folder: Path | None = None
    """Keeps finished steps, so that the same call resumes after a kill; changed weights stay there. None: everything in
    memory."""
    threads: int | None = None
    """torch's own number when None."""
    device: str = "cpu"
    """As torch names it."""
    progress: Progress = no_progress

    def part(self, folder: str, start: float, stop: float, what: str = "") -> Execution:
        """The execution of a part of the work that covers `start` … `stop` of the progress, in a subfolder."""
        return replace(
            self,
            folder=None if self.folder is None else self.folder / folder,
            progress=within(self.progress, start, stop, what),
        )
