"""What a cache directory remembers of the stores it uses, in `pipeline_state/shared_store.jsonl`: which actions are
there, what was damaged, and how fast they came. Losing it costs only time."""

from __future__ import annotations

import threading
from contextlib import suppress
from pathlib import Path
from statistics import median

from qairt.files import append_line, read_lines

MEMORY_FILE = "shared_store.jsonl"
_LATEST = 9
"""Fetches that an expected speed is based on."""


class Memory:
    """Of one cache directory and one store."""

    def __init__(self, state_folder: Path, url: str) -> None:
        self._path = state_folder / MEMORY_FILE
        self._url = url
        self._lock = threading.Lock()
        self._there: set[tuple[str, str]] = set()
        self._damaged: set[tuple[str, str]] = set()
        self._rates: list[float] = []
        for line in read_lines(self._path):
            match line:
                case {"store": str(store), "action": str(action)}:
                    self._there.add((store, action))
                case {"store": str(store), "damaged": str(digest)}:
                    self._damaged.add((store, digest))
                case {"store": str(store), "repaired": str(digest)}:
                    self._damaged.discard((store, digest))
                case {"url": str(of), "rate": float(rate)} if of == url and rate > 0:
                    self._rates.append(rate)

    def is_there(self, store: str, action: str) -> bool:
        """Whether an action is in the store of this id, as far as is known."""
        return (store, action) in self._there

    def found(self, store: str, action: str) -> None:
        """It is there, whole."""
        if not self.is_there(store, action):
            self._there.add((store, action))
            self._write({"store": store, "action": action})

    def lost(self, store: str, action: str) -> None:
        """Something of it was missing, for now: another process may have put it back."""
        self._there.discard((store, action))

    def is_damaged(self, store: str, digest: str) -> bool:
        """Whether a content was missing or had wrong bytes."""
        return (store, digest) in self._damaged

    def damaged(self, store: str, digest: str) -> None:
        """A content was missing or had wrong bytes: it is stored again, whatever its size."""
        self._damaged.add((store, digest))
        self._write({"store": store, "damaged": digest})

    def repaired(self, store: str, digest: str) -> None:
        """It was stored again."""
        if self.is_damaged(store, digest):
            self._damaged.discard((store, digest))
            self._write({"store": store, "repaired": digest})

    def measured(self, size: int, seconds: float) -> None:
        """So many bytes came in so many seconds."""
        rate = size / max(seconds, 1e-3)
        self._rates.append(rate)
        self._write({"url": self._url, "rate": round(rate, 1)})

    @property
    def rate(self) -> float | None:
        """Bytes per second, the median of the latest fetches."""
        latest = self._rates[-_LATEST:]
        return median(latest) if latest else None

    def _write(self, line: dict[str, object]) -> None:
        with self._lock, suppress(OSError):  # read-only or full: it is asked again next time
            if self._path.parent.is_dir():
                append_line(self._path, line)
