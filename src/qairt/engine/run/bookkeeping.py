"""What a run records about itself beside its results. Where it cannot be written, that is said once."""

from __future__ import annotations

from collections.abc import Callable

from qairt.engine.record import events as ev
from qairt.engine.run.stream import EventStream
from qairt.errors import CacheError


class Bookkeeping:
    """Writes records; none of them ends a run."""

    def __init__(self, stream: EventStream) -> None:
        self._stream = stream
        self._told: set[str] = set()

    def write(self, record: str, write: Callable[[], object]) -> None:
        """Call `write`, and warn where it fails, once for each `record`."""
        try:
            write()
        except (OSError, CacheError) as error:
            if record not in self._told:
                self._told.add(record)
                why = error.what if isinstance(error, CacheError) else f"{record}: {error.strerror or error}"
                self._stream.emit(ev.LogLine(level="warning", message=f"{why}; the run goes on without it"))
