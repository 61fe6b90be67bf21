"""Digests of files by inode and stamp, so that each is hashed once: what a recipe names, and what the cache holds.

A stamp is size, mtime, ctime, inode and device, in ns. A file that is swapped for one of the same size and mtime
(`cp -p`, `tar x`, `rsync -t`), or written to and given its old mtime, has another inode or ctime. Our own hard links
change the ctime of a file as well; see `FileDigests.linking`.
"""

from __future__ import annotations

import os
import re
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

from qairt.files import append_lines, read_lines, sha256_of, write_lines

if TYPE_CHECKING:
    from pydantic import JsonValue

_TICK = 10_000_000
"""ns; the coarsest clock that Linux stamps files with. Two writes within one tick have the same ctime."""
_DIGEST = re.compile(r"[0-9a-f]{64}")
_FEW = 1000  # lines; not worth rewriting the file for
_MOST = 1 << 26  # bytes of the file; more is not from us

Inode = tuple[int, int]
"""Device and inode."""
_Key = tuple[int, int, str]
"""Device, inode and the name of a content."""


@dataclass(frozen=True)
class Stamp:
    """What changes with a file's content; times in ns."""

    size: int
    mtime: int
    ctime: int

    @classmethod
    def of(cls, status: os.stat_result) -> Stamp:
        return cls(status.st_size, status.st_mtime_ns, status.st_ctime_ns)

    def differs_by_ctime_only(self, other: Stamp) -> bool:
        return (self.size, self.mtime) == (other.size, other.mtime)


@dataclass(frozen=True)
class Content:
    """Some content of a file, whatever its bytes are."""

    name: str
    """Its digests are remembered under this name. Change it if `digest` changes."""
    digest: Callable[[Path], str]
    """Hex SHA-256."""


BYTES = Content("", lambda path: sha256_of(path))
"""All of it."""


class FileDigests:
    """Digests of files, kept in a file of JSON lines to which several processes append; losing it only costs time.

    Args:
        path: of that file; None to remember nothing beyond this object.
    """

    def __init__(self, path: Path | None = None) -> None:
        self._path = path
        self._known: dict[_Key, tuple[Stamp, str]] = {}
        self._read: Stamp | None = None
        """Of the file, when it was read."""
        self._linked: Counter[Inode] = Counter()
        """Inodes whose ctime may change at the moment, see `linking`."""
        self._seen: dict[tuple[Path, Content], str] = {}
        self._lock = threading.RLock()

    def digest(self, path: Path, content: Content = BYTES) -> str:
        """SHA-256 of the file that `path` leads to, or of some content; hashed only if the file has changed.

        Raises:
            OSError: the file cannot be read.
        """
        return self._known_of(status := path.stat(), content) or self._hash(path, status, content)

    def known(self, path: Path) -> str | None:
        """The digest of an unchanged file; None if it would have to be hashed, or cannot be read."""
        try:
            return self._known_of(path.stat(), BYTES)
        except OSError:
            return None

    def read(self, path: Path) -> str:
        """The digest of the bytes that are there now, whatever is known; raises what `digest` does."""
        return self._hash(path, path.stat(), BYTES)

    def remember(self, digests: Mapping[Path, str]) -> None:
        """Keep the digests of files whose content is known, with their present stamps."""
        found = {}
        for path, value in digests.items():
            with suppress(OSError):  # it is gone
                status = path.stat()
                found[_key(status, BYTES)] = (Stamp.of(status), value)
        self._keep(found)

    @contextmanager
    def linking(self, paths: Iterable[Path]) -> Iterator[None]:
        """Meanwhile we make and remove hard links to these files, which changes their ctime and not their content.

        Those that were unchanged before count as unchanged, and get their new stamps at the end.
        """
        held = {path: digest for path in paths if (digest := self.known(path)) is not None}
        inodes = {path: _inode(path) for path in held}
        with self._lock:
            self._linked.update(set(inodes.values()))
        try:
            yield
        finally:
            self.remember({path: digest for path, digest in held.items() if self.known(path) == digest})
            with self._lock:
                self._linked.subtract(set(inodes.values()))
                self._linked += Counter()  # drops zeros

    # Within one run

    def see(self, path: Path, content: Content = BYTES) -> str:
        """The digest of what the run depends on, see `changed_since_seen`; raises what `digest` does."""
        found = self._seen[path.resolve(), content] = self.digest(path, content)
        return found

    def changed_since_seen(self, path: Path) -> bool:
        """Whether the file's content is no longer what this object has seen of it."""
        path = path.resolve()
        seen = {content: digest for (each, content), digest in self._seen.items() if each == path}
        try:
            return not seen or any(self.digest(path, content) != digest for content, digest in seen.items())
        except Exception:  # it cannot be read any more, or not parsed
            return True

    # Inside

    def _known_of(self, status: os.stat_result, content: Content) -> str | None:
        with self._lock:
            found = self._matching(status, content)
            if found is None and self._refresh():  # another process may have hashed it
                found = self._matching(status, content)
            return found

    def _matching(self, status: os.stat_result, content: Content) -> str | None:
        key, stamp = _key(status, content), Stamp.of(status)
        known, digest = self._known.get(key, (None, None))
        if known == stamp or (known is not None and key[:2] in self._linked and known.differs_by_ctime_only(stamp)):
            return digest
        return None

    def _hash(self, path: Path, status: os.stat_result, content: Content) -> str:
        age = time.time_ns() - status.st_ctime_ns
        if 0 <= age < _TICK:  # else a change after it is hashed could leave the same stamp
            time.sleep((_TICK - age) / 1e9)
        digest = content.digest(path)
        after = path.stat()
        if Stamp.of(after) == Stamp.of(status):
            self._keep({_key(after, content): (Stamp.of(after), digest)})
        return digest

    def _keep(self, found: Mapping[_Key, tuple[Stamp, str]]) -> None:
        with self._lock:
            new = {key: value for key, value in found.items() if self._known.get(key) != value}
            self._known |= new
            if new and self._path is not None and self._path.parent.is_dir():
                read_all = self._stored() == self._read
                try:
                    append_lines(self._path, (_record(key, *value) for key, value in new.items()))
                except OSError:  # a read-only or full disk: hash again next time
                    self._path = None
                if read_all:
                    self._read = self._stored()

    def _refresh(self) -> bool:
        """Read the file if it has changed. Whether it had."""
        stored = self._stored()
        if self._path is None or stored is None or stored == self._read:
            return False
        self._read = stored
        lines = read_lines(self._path) if stored.size <= _MOST else []
        self._known |= dict(filter(None, map(_parsed, lines)))
        if stored.size > _MOST or len(lines) > _FEW + 2 * len(self._known):
            self._rewrite()
        return True

    def _stored(self) -> Stamp | None:
        """The stamp of the file of digests."""
        try:
            return None if self._path is None else Stamp.of(self._path.stat())
        except OSError:
            return None

    def _rewrite(self) -> None:
        if self._path is not None and self._path.exists():
            with suppress(OSError):  # it stays long
                write_lines(self._path, (_record(key, *value) for key, value in self._known.items()))


def _inode(path: Path) -> Inode:
    status = path.stat()
    return status.st_dev, status.st_ino


@cache
def shared_digests(path: Path) -> FileDigests:
    """One object for the whole process: what one part of it links, the others know of."""
    return FileDigests(path)


def _key(status: os.stat_result, content: Content) -> _Key:
    return status.st_dev, status.st_ino, content.name


def _record(key: _Key, stamp: Stamp, digest: str) -> dict[str, JsonValue]:
    return {"of": [*key], "stamp": [stamp.size, stamp.mtime, stamp.ctime], "sha256": digest}


def _parsed(record: Mapping[str, JsonValue]) -> tuple[_Key, tuple[Stamp, str]] | None:
    """A line of the file; None if it is damaged."""
    match record:
        case {
            "of": [int(device), int(inode), str(content)],
            "stamp": [int(size), int(mtime), int(ctime)],
            "sha256": str(digest),
        } if _DIGEST.fullmatch(digest):
            return (device, inode, content), (Stamp(size, mtime, ctime), digest)
    return None
