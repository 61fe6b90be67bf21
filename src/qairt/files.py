"""Files as the cache handles them: whole or not at all, and stored once."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import tempfile
from collections.abc import Iterable
from pathlib import Path
from typing import Any

_LINKED_FROM = 1 << 20  # bytes


def sha256_of(path: Path) -> str:
    """Hex SHA-256 of a file's bytes."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def link_or_copy(source: Path, target: Path) -> None:
    """Make `target` the same file as `source`: a hard link where the file system allows it, else a copy."""
    target.parent.mkdir(parents=True, exist_ok=True)
    try:
        os.link(source, target)
    except OSError:
        shutil.copyfile(source, target)


WRITING = ".writing-"
"""How the names of files begin that are not whole yet; a process that was killed leaves them behind."""


def write_atomic(path: Path, data: str | bytes) -> None:
    """Replace `path` with `data` so that a reader sees the old content or the new, never a part.

    A file keeps its mode. Behind a symbolic link, the file is replaced and the link stays.
    """
    raw = data.encode() if isinstance(data, str) else data
    path = Path(os.path.realpath(path))
    mode = path.stat().st_mode & 0o777 if path.exists() else 0o644
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=f"{WRITING}{path.name}.")
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(raw)
            file.flush()
            os.fsync(file.fileno())
        os.chmod(name, mode)
        os.replace(name, path)
    except BaseException:
        Path(name).unlink(missing_ok=True)
        raise


def flush(path: Path) -> None:
    """Force a file's (or a folder's entries') content to disk."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def append_line(path: Path, record: dict[str, Any]) -> None:
    """Append one JSON line; lines of concurrent writers do not mix (one write call, O_APPEND), and one that a killed
    writer left unfinished is closed first."""
    line = (json.dumps(record, separators=(",", ":"), default=str) + "\n").encode()
    handle = os.open(path, os.O_RDWR | os.O_APPEND | os.O_CREAT, 0o644)
    try:
        end = os.lseek(handle, 0, os.SEEK_END)
        if end and os.pread(handle, 1, end - 1) != b"\n":
            line = b"\n" + line
        os.write(handle, line)
    finally:
        os.close(handle)


def read_lines(path: Path) -> list[dict[str, Any]]:
    """The JSON lines of a file; a torn last line (the writer was killed) is left out, a missing file has none."""
    records = []
    try:
        text = path.read_text(errors="replace")
    except FileNotFoundError:
        return []
    for line in text.splitlines():
        try:
            record = json.loads(line)
        except json.JSONDecodeError:
            continue
        if isinstance(record, dict):
            records.append(record)
    return records


def replace_folder(directory: Path, source: Path, files: Iterable[Path], *, told_by: Path) -> None:
    """Give `directory` copies of `files` from below `source`, as a whole; it stays where its `told_by` is the same.

    Large files are read-only links. Small ones, which a user may well edit, are copies.
    """
    known = directory / told_by
    if known.is_file() and known.read_bytes() == (source / told_by).read_bytes():
        return
    fresh, old = directory.with_name(f".{directory.name}.new"), directory.with_name(f".{directory.name}.old")
    for left in (fresh, old):
        shutil.rmtree(left, ignore_errors=True)
    for path in files:
        target = fresh / path.relative_to(source)
        if path.stat().st_size >= _LINKED_FROM:
            link_or_copy(path, target)
        else:
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(path, target)
    if directory.exists():
        directory.rename(old)
    fresh.rename(directory)
    shutil.rmtree(old, ignore_errors=True)


def files_below(directory: Path) -> list[Path]:
    """All regular files below `directory`, sorted."""
    return sorted(path for path in directory.rglob("*") if path.is_file() and not path.is_symlink())


def log_tail(path: Path, lines: int = 12) -> list[str]:
    """The last lines of a log, control characters removed."""
    try:
        text = path.read_bytes()[-20_000:].decode(errors="replace")
    except OSError:
        return []
    kept = ["".join(char for char in line if char.isprintable() or char == "\t") for line in text.splitlines()]
    return [line[:500] for line in kept if line.strip()][-lines:]
