"""The blobs of a cache directory: every large file once, under its digest; entries hold hard links to them."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterable, Iterator
from contextlib import AbstractContextManager, suppress
from itertools import chain
from pathlib import Path

from qairt.engine.digests import FileDigests
from qairt.files import flush, make_folder, set_aside, sha256_of

SHARED_FROM = 1 << 12
"""Bytes; smaller files are not worth a blob."""


class Blobs:
    """Stores the bytes of files once. Another process may add or drop a blob at any moment."""

    def __init__(self, folder: Path, digests: FileDigests) -> None:
        self._folder = folder
        self._digests = digests

    def store(self, path: Path) -> tuple[int, str]:
        """Flush one file and share its bytes; returns its size and its digest."""
        digest = self._digests.known(path)
        if digest is None:
            flush(path)
            digest = sha256_of(path)
        size = path.stat().st_size
        blob = self._folder / digest
        if size >= SHARED_FROM:
            with self._digests.linking([blob]):
                self._share(path, blob)
        return size, digest

    def adopt(self, digest: str, path: Path) -> bool:
        """Make `path` a link to the bytes of this digest, if they are here and whole."""
        blob = self._folder / digest
        try:
            with self._digests.linking([blob]):
                if not self._is_right(blob):
                    return False
                os.link(blob, path)
                return True
        except OSError:
            return False

    def keep(self, path: Path, digest: str) -> None:
        """Share the bytes of a file that is on disk and has this digest."""
        self._digests.remember({path: digest})
        self.store(path)

    def release_damaged(self, digests: Iterable[str]) -> None:
        """Remove the blobs of a damaged entry whose bytes are not what their names say: none adopts them again."""
        for digest in digests:
            blob = self._folder / digest
            with suppress(OSError):  # there is none, or the cache is read-only
                if blob.is_symlink() or not blob.is_file() or self._digests.read(blob) != digest:
                    blob.unlink()

    def drop_unused(self) -> int:
        """Remove blobs that no entry links to, not even a cleared one; returns the bytes freed."""
        return sum(self.drop(blob.name) for blob in self._folder.glob("*"))

    def drop(self, digest: str) -> int:
        """Remove one blob if no entry links to it; returns the bytes freed."""
        blob = self._folder / digest
        try:
            status = blob.stat()
        except FileNotFoundError:  # there is none, or another process dropped it
            return 0
        if status.st_nlink > 1:
            return 0
        blob.unlink(missing_ok=True)
        return status.st_size

    def held_by(self, files: Iterable[os.stat_result], also: Iterable[os.stat_result] = ()) -> int:
        """Bytes of these files that nothing else holds.

        Args:
            also: of other files, whose links do not count as held by something else.
        """
        asked: dict[_Inode, os.stat_result] = {}
        links: Counter[_Inode] = Counter()
        for status in files:
            asked[_inode(status)] = status
            links[_inode(status)] += 1
        links.update(_inode(status) for status in chain(also, self._statuses()))
        return sum(status.st_size for inode, status in asked.items() if links[inode] >= status.st_nlink)

    def linking(self, digests: Iterable[str]) -> AbstractContextManager[None]:
        """Meanwhile links to these bytes come and go, which does not change them."""
        return self._digests.linking(self._folder / digest for digest in digests)

    def _share(self, path: Path, blob: Path) -> None:
        """Make `path` and `blob` the same file; a damaged blob is replaced.

        If that fails, the file keeps its own bytes, which is always correct.
        """
        try:
            if blob.exists() and os.path.samefile(blob, path):
                return
            if os.path.lexists(blob) and self._is_right(blob):
                twin = path.with_name(path.name + ".twin")
                os.link(blob, twin)
                os.replace(twin, path)
                return
            make_folder(blob.parent)
            if os.path.lexists(blob):
                set_aside(blob) if blob.is_dir() else blob.unlink()
            os.chmod(path, 0o444)  # shared from now on: nobody should write into it
            os.link(path, blob)
        except OSError:
            pass

    def _statuses(self) -> Iterator[os.stat_result]:
        with suppress(OSError), os.scandir(self._folder) as blobs:
            for blob in blobs:
                with suppress(OSError):
                    yield blob.stat(follow_symlinks=False)

    def _is_right(self, blob: Path) -> bool:
        """Whether a blob is a file with the bytes that its name says."""
        try:
            return not blob.is_symlink() and self._digests.digest(blob) == blob.name
        except OSError:
            return False


_Inode = tuple[int, int]


def _inode(status: os.stat_result) -> _Inode:
    return status.st_dev, status.st_ino
