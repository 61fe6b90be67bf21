"""Files on disk: written as a whole or not at all, and stored once."""

from __future__ import annotations

import errno
import hashlib
import json
import os
import re
import shutil
import stat
import sys
import tempfile
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from io import BufferedReader, BufferedWriter
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pydantic import JsonValue

_LINKED_FROM = 1 << 20  # bytes
MAX_JSON = 1 << 28
"""Bytes of a JSON file: configurations, indexes and records are far smaller."""
_FICLONE = 0x40049409  # ioctl of linux/fs.h

WRITING = ".writing-"
"""Prefix of temporary files; a process that was killed leaves them behind."""
BAD = ".bad-"
"""Prefix of damaged files and folders that were set aside."""


_VARIABLE = re.compile(r"\$\{(\w+)\}")


def expanded(path: str | Path) -> Path:
    """A path with `~` and `${VARIABLE}` replaced.

    Raises:
        ValueError: a variable is not set, or there is no such user.
    """
    text = str(path)
    if unset := unset_variable(text):
        raise ValueError(f"the environment variable {unset} is not set")
    found = os.path.expanduser(_VARIABLE.sub(lambda match: os.environ[match[1]], text))
    if found.startswith("~"):
        raise ValueError(f"there is no user {found.partition('/')[0][1:]}, whose home folder this would be")
    return Path(found)


def unset_variable(text: str) -> str | None:
    """The first `${VARIABLE}` of a path that is not set."""
    return next((name for name in _VARIABLE.findall(text) if name not in os.environ), None)


def open_regular(path: Path) -> BufferedReader:
    """A file opened for reading; a FIFO or device in its place is not waited for.

    Raises:
        OSError: there is no regular file.
    """
    handle = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    kind = os.fstat(handle).st_mode
    if not stat.S_ISREG(kind):
        os.close(handle)
        if stat.S_ISDIR(kind):
            raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), str(path))
        raise OSError(errno.EINVAL, "not a regular file", str(path))
    return os.fdopen(handle, "rb")


def read_regular(path: Path) -> bytes:
    """The bytes of a file; raises what `open_regular` does."""
    with open_regular(path) as file:
        return file.read()


def read_text(path: Path) -> str:
    """The text of a file, with line ends as in Python; raises what `open_regular` does.

    Raises:
        UnicodeDecodeError: it is not UTF-8.
    """
    return read_regular(path).decode().replace("\r\n", "\n").replace("\r", "\n")


def read_json(path: Path) -> Any:
    """The content of a JSON file; raises what `open_regular` does.

    Raises:
        ValueError: it is not JSON, or larger or nested more deeply than any such file is.
    """
    with open_regular(path) as file:
        data = file.read(MAX_JSON + 1)
    if len(data) > MAX_JSON:
        raise ValueError(f"it has more than {MAX_JSON:,} bytes")
    return parse_json(data)


def parse_json(data: str | bytes, mapping: Callable[[list[tuple[str, Any]]], object] | None = None) -> Any:
    """The value of a JSON text.

    Args:
        mapping: makes a mapping of its keys and values, which may name a key twice.

    Raises:
        ValueError: it is not JSON, or nested too deeply.
    """
    try:
        return json.loads(data, object_pairs_hook=mapping)
    except RecursionError as error:
        raise ValueError("it is nested too deeply") from error


def sha256_of(path: Path) -> str:
    """Hex SHA-256 of a file's bytes; raises what `open_regular` does."""
    with open_regular(path) as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def copy_file(source: Path, target: Path) -> None:
    """Copy a file's bytes. File systems that can (btrfs, XFS) share them until one of the two is written to."""
    target.parent.mkdir(parents=True, exist_ok=True)
    with open_regular(source) as read, target.open("wb") as written:
        if _clone(read, written):
            return
    shutil.copyfile(source, target)


def _clone(source: BufferedReader, target: BufferedWriter) -> bool:
    """Let `target` share the bytes of `source`; False where the file system cannot."""
    if sys.platform != "linux":
        return False
    import fcntl

    try:
        fcntl.ioctl(target.fileno(), _FICLONE, source.fileno())
    except OSError:  # another file system, or one that cannot
        return False
    return True


def link_or_copy(source: Path, target: Path) -> None:
    """Make `target` the same file as `source`: a hard link where the file system allows it, else a copy."""
    target.parent.mkdir(parents=True, exist_ok=True)
    try:
        os.link(source, target)
    except OSError:
        copy_file(source, target)


def write_atomic(path: Path, data: str | bytes) -> None:
    """Replace `path` with `data` so that a reader sees the old content or the new, never a part.

    A file keeps its mode. Behind a symbolic link, the file is replaced and the link stays. A device or a pipe is
    written to.
    """
    raw = data.encode() if isinstance(data, str) else data
    path = Path(os.path.realpath(path))
    with _naming(path):
        if path.exists() and not path.is_file():
            with path.open("wb") as device:
                device.write(raw)
            return
        mode = path.stat().st_mode & 0o777 if path.exists() else 0o644
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, name = new_held_file(path.parent, f"{WRITING}{path.name}.")
        try:
            with os.fdopen(handle, "wb") as file:  # held until it has its name
                file.write(raw)
                file.flush()
                os.fsync(file.fileno())
                os.chmod(name, mode)
                os.replace(name, path)
        except BaseException:
            Path(name).unlink(missing_ok=True)
            raise


@contextmanager
def _naming(path: Path) -> Iterator[None]:
    """An error of the system inside names this file: a full disk names none, and a temporary file means nothing."""
    try:
        yield
    except OSError as error:
        error.filename, error.filename2 = str(path), None
        raise


def require_writable(folder: Path) -> None:
    """Create a file in a folder, and delete it.

    Raises:
        OSError: that is not possible.
    """
    handle, name = new_held_file(folder, WRITING)
    os.unlink(name)
    os.close(handle)


def new_held_file(folder: Path, prefix: str) -> tuple[int, str]:
    """A new file that this process holds (see `lock`) while it is open."""
    while True:
        handle, name = tempfile.mkstemp(dir=folder, prefix=prefix)
        lock(handle)
        if os.fstat(handle).st_nlink:
            return handle, name
        os.close(handle)  # deleted before it was held, as that of a dead process


def lock(handle: int, *, shared: bool = False, wait: bool = True) -> bool:
    """Take the kernel lock of an open file, which ends when it is closed or its process dies.

    Args:
        shared: with others that share it.
        wait: until those that hold it let go.

    Returns:
        Whether it was taken; False without `wait` where another holds it. On Windows nobody is known to be gone.
    """
    if sys.platform == "win32":
        return wait
    import fcntl

    try:
        fcntl.flock(handle, (fcntl.LOCK_SH if shared else fcntl.LOCK_EX) | (0 if wait else fcntl.LOCK_NB))
    except BlockingIOError:
        return False
    return True


def make_folder(path: Path) -> None:
    """Create a folder of ours; anything else in its place is set aside.

    Raises:
        OSError: it cannot be created.
    """
    if os.path.lexists(path) and not path.is_dir():
        set_aside(path)
    path.mkdir(parents=True, exist_ok=True)


def set_aside(path: Path) -> Path:
    """Rename a damaged file or folder to `.bad-<name>-<pid>` beside it, so that nothing uses it any more.

    Raises:
        OSError: it cannot be renamed.
    """
    target = path.with_name(f"{BAD}{path.name}-{os.getpid()}")
    if target.is_dir() and not target.is_symlink():
        shutil.rmtree(target)
    path.rename(target)
    return target


def flush(path: Path) -> None:
    """Force a file's content, or a folder's list of entries, to disk."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def append_line(path: Path, record: Mapping[str, object]) -> None:
    """Append one JSON line, as `append_lines` does."""
    append_lines(path, [record])


def append_lines(path: Path, records: Iterable[Mapping[str, object]]) -> None:
    """Append JSON lines. Lines of concurrent writers do not mix (one write call, O_APPEND); a line that a killed
    writer left unfinished is ended first. Something else in the file's place is set aside.

    Raises:
        OSError: the file cannot be written.
    """
    data = _lines(records)
    with _naming(path):
        handle = _open_to_append(path)
        try:
            end = os.lseek(handle, 0, os.SEEK_END)
            if end and os.pread(handle, 1, end - 1) != b"\n":
                data = b"\n" + data
            os.write(handle, data)
        finally:
            os.close(handle)


def write_lines(path: Path, records: Iterable[Mapping[str, object]]) -> None:
    """Replace a file by JSON lines, as `write_atomic` does."""
    write_atomic(path, _lines(records))


def _lines(records: Iterable[Mapping[str, object]]) -> bytes:
    return "".join(json.dumps(record, separators=(",", ":"), default=str) + "\n" for record in records).encode()


def _open_to_append(path: Path) -> int:
    flags = os.O_RDWR | os.O_APPEND | os.O_CREAT | os.O_NONBLOCK
    try:
        handle = os.open(path, flags, 0o644)
        if stat.S_ISREG(os.fstat(handle).st_mode):
            return handle
        os.close(handle)
    except OSError as error:
        if error.errno not in (errno.EISDIR, errno.ELOOP, errno.ENXIO):
            raise
    set_aside(path)
    return os.open(path, flags, 0o644)


def read_lines(path: Path) -> list[dict[str, JsonValue]]:
    """The JSON objects of a file, one a line; damaged lines are skipped, and a missing or damaged file has none."""
    records: list[dict[str, JsonValue]] = []
    try:
        text = read_regular(path).decode(errors="replace")
    except OSError:
        return []
    for line in text.splitlines():
        try:
            record = parse_json(line)
        except ValueError:
            continue
        if isinstance(record, dict):
            records.append(record)
    return records


def copy_small_link_large(source: Path, files: Iterable[Path], target: Path) -> None:
    """Put `files` of the folder `source` into the folder `target`: large ones as links, others as copies."""
    for path in files:
        place = target / path.relative_to(source)
        if path.stat().st_size >= _LINKED_FROM:
            link_or_copy(path, place)
        else:
            place.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(path, place)


def files_below(directory: Path) -> list[Path]:
    """All regular files below `directory`, sorted."""
    return sorted(path for path in directory.rglob("*") if path.is_file() and not path.is_symlink())


def bytes_below(directory: Path) -> int:
    """Size of all files below a folder; hard links count once. What comes and goes meanwhile counts or not."""
    seen: dict[tuple[int, int], int] = {}
    for folder, _, names in os.walk(directory):
        for name in names:
            with suppress(OSError):
                status = os.lstat(os.path.join(folder, name))
                seen[status.st_dev, status.st_ino] = status.st_size
    return sum(seen.values())


def log_tail(path: Path, lines: int = 12) -> list[str]:
    """The last lines of a log, without control characters."""
    try:
        text = read_regular(path)[-20_000:].decode(errors="replace")
    except OSError:
        return []
    kept = ["".join(char for char in line if char.isprintable() or char == "\t") for line in text.splitlines()]
    return [line[:500] for line in kept if line.strip()][-lines:]
