"""Digests of files that a recipe names, stored by path and stamp so that each is hashed once.

A file that is swapped for one of the same size and mtime (`cp -p`, `tar x`, `rsync -t`) has another ctime or inode.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from qairt.files import read_json, sha256_of, write_atomic

Stamp = list[int]
"""[size, mtime in ns, ctime in ns, inode, device]."""


@dataclass(frozen=True)
class Content:
    """Some content of a file, whatever its bytes are."""

    name: str
    """Its digests are remembered under this name. Change it if `digest` changes."""
    digest: Callable[[Path], str]
    """Hex SHA-256."""


class FileDigests:
    """A file `{path or path (content): [*stamp, sha256]}`; losing it only costs time."""

    def __init__(self, path: Path | None = None) -> None:
        self._path = path
        self._known: dict[str, tuple[Stamp, str]] = {}
        self._seen: dict[Path, Stamp] = {}
        if path is not None:
            try:
                for name, (*stamp, value) in read_json(path).items():
                    if isinstance(value, str):
                        self._known[name] = (stamp, value)
            except (OSError, ValueError, TypeError, AttributeError):  # damaged: hash again
                self._known = {}

    def digest(self, path: Path, content: Content | None = None) -> str:
        """SHA-256 of `path`, or of its `content`; hashed only if the file has changed.

        Raises:
            OSError: the file cannot be read.
        """
        path = path.resolve()
        stamp = stamp_of(path)
        self._seen[path] = stamp
        name = str(path) if content is None else f"{path} ({content.name})"
        known = self._known.get(name)
        if known is not None and known[0] == stamp:
            return known[1]
        value = sha256_of(path) if content is None else content.digest(path)
        self._known[name] = (stamp, value)
        self._save()
        return value

    def changed_since_seen(self, path: Path) -> bool:
        """Whether the file is no longer the one that was digested in this run."""
        path = path.resolve()
        try:
            return stamp_of(path) != self._seen.get(path)
        except OSError:
            return True

    def _save(self) -> None:
        if self._path is not None and self._path.parent.is_dir():
            stored = {name: [*stamp, value] for name, (stamp, value) in sorted(self._known.items())}
            try:
                write_atomic(self._path, json.dumps(stored, indent=0))
            except OSError:  # a read-only cache directory: hash again next time
                self._path = None


def stamp_of(path: Path) -> Stamp:
    status = path.stat()
    return [status.st_size, status.st_mtime_ns, status.st_ctime_ns, status.st_ino, status.st_dev]
