"""Random access to lines of a log file, which may be large, and may grow, shrink or vanish meanwhile."""

from __future__ import annotations

import os
import re
import stat
import threading
from array import array
from bisect import bisect_left
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from qairt.files import open_regular
from qairt.printable import readable
from qairt.tui.lines.log import ERROR, ERROR_WORDS, level_of, time_of

BLOCK = 1 << 16
"""Bytes per entry of the index, which holds the number of line ends before each block."""
_AT_ONCE = 8 << 20
"""Files up to this many bytes are indexed when opened."""
_TAIL = 16 * BLOCK
"""The part of a larger file that is available at once."""
_PER_POLL = 16 << 20
_CHUNK = 1 << 18
_OVERLAP = 1 << 10
"""Bytes searched twice if a line is longer than a chunk."""
_SHORT = 1 << 14
"""Lines up to this many bytes are read whole."""
_LONGEST = 1 << 20
_HEAD = 64
_BLOCKS_KEPT = 16


class FileLine(NamedTuple):
    """One line as displayable text."""

    text: str
    more: bool
    """The line continues beyond the requested columns."""


class Change(NamedTuple):
    """What `poll` found."""

    shift: int = 0
    """Lines found before the known ones: every line number grows by this."""
    replaced: bool = False
    """The file was replaced or truncated: line numbers are no longer valid."""


class LogFile:
    """Lines of a file by number, reading only the parts that are used.

    The tail of a large file is available at once, numbered from 0. Once a thread has counted the lines before it,
    `poll` returns by how much all numbers grow. File errors are never raised: see `problem`.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.problem = ""
        """Why the file, or the rest of it, cannot be read."""
        self._file = -1
        self._identity: tuple[int, int] | None = None
        self._scan: _Scan | None = None
        self._forget()

    # Content

    @property
    def size(self) -> int:
        """Known bytes."""
        return self._end

    @property
    def line_count(self) -> int:
        """Known lines, including a last one without a line end."""
        return self._ends + (self._end > self._base and not self._closed)

    @property
    def indexed(self) -> float:
        """Indexed share of the file, 0 to 1; below 1 the first lines are not available yet."""
        return 1.0 if self._scan is None else self._scan.done / max(self._base, 1)

    def line(self, number: int, columns: int | None = None) -> FileLine:
        """One line, up to `columns` characters of it; None for all, up to a megabyte."""
        begin, end = self._span(number)
        return self._line(begin, end, _LONGEST if columns is None else max(columns, 0))

    def lines(self, start: int, count: int, columns: int | None = None) -> list[FileLine]:
        """Up to `count` lines starting at `start`, within the file."""
        numbers = range(max(start, 0), min(start + count, self.line_count))
        return [self.line(number, columns) for number in numbers]

    def first_time(self) -> float | None:
        """The first time at the start of one of the first lines; None if they have none."""
        if self._scan is not None:
            return None
        times = (time_of(line.text) for line in self.lines(0, 100, 80))
        return next((time for time in times if time is not None), None)

    # Searching

    def search(self, text: str, start: int, step: int) -> Iterator[int | None]:
        """Lines that contain `text`, ignoring case; see `find`."""
        return self.find(re.compile(re.escape(text), re.IGNORECASE), start, step)

    def next_error(self, start: int, step: int = 1) -> Iterator[int | None]:
        """Lines that report an error; see `find`."""
        for hit in self._find(ERROR, start, step, ERROR_WORDS):
            if hit is None or level_of(self.line(hit, _SHORT).text) == "error":
                yield hit

    def find(self, pattern: re.Pattern[str], start: int, step: int) -> Iterator[int | None]:
        """Numbers of matching lines from `start` on, or backwards if `step` is negative.

        Yields None after each chunk without a match, so that the caller can do other work. Ends when the file is
        replaced. After a shift reported by `poll`, start a new search.
        """
        return self._find(pattern, start, step)

    # Following

    def poll(self) -> Change | None:
        """Read what was appended; None when nothing changed. Takes milliseconds, however much was written."""
        before_problem = self.problem
        try:
            status = self.path.stat()
        except OSError as fault:
            gone = isinstance(fault, FileNotFoundError)
            what = "does not exist" if gone else f"cannot be read: {fault.strerror}"
            self.problem = f"{self.path.name} {what}" + ("; showing what it contained" if self._end else "")
            return Change() if self.problem != before_problem else None
        if not stat.S_ISREG(status.st_mode):
            self.problem = f"{self.path.name} is not a file"
            return Change() if self.problem != before_problem else None
        self.problem = ""
        replaced = self._is_replaced(status)
        if replaced and not self._open(status.st_size):
            return Change() if self.problem != before_problem else None
        before = self._end
        self._extend(min(status.st_size, self._end + _PER_POLL))
        shift = self._merge()
        if replaced or shift or self._end != before or self.problem != before_problem:
            return Change(shift, replaced)
        return None

    def close(self) -> None:
        """Close the file. `poll` opens it again."""
        if self._scan is not None:
            self._scan.stop.set()
            self._scan = None
        if self._file >= 0:
            os.close(self._file)
        self._file = -1
        self._identity = None

    # Index

    def _forget(self) -> None:
        self._head = b""
        self._base = 0
        self._end = 0
        self._ends = 0
        self._closed = True
        self._before = array("Q", [0])
        self._cached: dict[int, list[int]] = {}
        self._epoch = object()

    def _is_replaced(self, status: os.stat_result) -> bool:
        if self._identity != (status.st_dev, status.st_ino) or status.st_size < self._end:
            return True
        return status.st_size > self._end and self._read(0, len(self._head)) != self._head

    def _open(self, size: int) -> bool:
        self.close()
        self._forget()
        try:
            self._file = os.open(self.path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
            status = os.fstat(self._file)
        except OSError as fault:
            self.problem = f"{self.path.name} cannot be read: {fault.strerror}"
            return False
        self._identity = (status.st_dev, status.st_ino)
        if size > _AT_ONCE:
            self._base = self._end = (size - _TAIL) // BLOCK * BLOCK
            self._scan = _Scan(self.path, self._base, self._identity)
        return True

    def _extend(self, size: int) -> None:
        while self._end < size:
            data = self._read(self._end, min(size - self._end, 16 * BLOCK))
            if not data:
                return
            self._take(data)
        if len(self._head) < _HEAD and self._end:
            self._head = self._read(0, min(_HEAD, self._end))

    def _take(self, data: bytes) -> None:
        self._cached.pop(len(self._before) - 1, None)
        at = 0
        while at < len(data):
            upto = min(at + BLOCK - (self._end - self._base) % BLOCK, len(data))
            self._ends += data.count(b"\n", at, upto)
            self._end += upto - at
            at = upto
            if (self._end - self._base) % BLOCK == 0:
                self._before.append(self._ends)
        self._closed = data.endswith(b"\n")

    def _merge(self) -> int:
        """Prepend the index built by the thread; returns by how much line numbers grow."""
        scan = self._scan
        if scan is None or scan.is_alive():
            return 0
        self._scan = None
        if scan.done < self._base:
            self.problem = f"{self.path.name} cannot be read from its beginning; showing its end"
            return 0
        shift = scan.before[-1]
        self._before = scan.before[:-1] + array("Q", (count + shift for count in self._before))
        self._ends += shift
        self._base = 0
        self._cached.clear()
        self._epoch = object()
        return shift

    def _read(self, begin: int, size: int) -> bytes:
        try:
            return os.pread(self._file, max(size, 0), begin) if self._file >= 0 else b""
        except OSError:  # a remote file may vanish while open
            return b""

    def _start(self, number: int) -> int:
        """Offset of a line; the end of the file for the one past the last."""
        if number <= 0:
            return self._base
        if number > self._ends:
            return self._end
        block = bisect_left(self._before, number) - 1
        ends = self._ends_in(block)
        nth = number - self._before[block] - 1
        return ends[nth] + 1 if nth < len(ends) else self._end

    def _ends_in(self, block: int) -> list[int]:
        """Offsets of line ends in a block; fewer than counted if the file just shrank."""
        if (known := self._cached.get(block)) is not None:
            return known
        begin = self._base + block * BLOCK
        data = self._read(begin, min(BLOCK, self._end - begin))
        ends = [begin + match.start() for match in re.finditer(b"\n", data)]
        if len(self._cached) >= _BLOCKS_KEPT:
            del self._cached[next(iter(self._cached))]
        self._cached[block] = ends
        return ends

    def _span(self, number: int) -> tuple[int, int]:
        begin = self._start(number)
        end = self._start(number + 1)
        return begin, max(end - 1, begin) if number < self._ends else end

    def _line(self, begin: int, end: int, columns: int) -> FileLine:
        if end - begin > _SHORT:
            last = self._read(end - 4096, 4096).rstrip(b"\r")
            if b"\r" in last:  # overwritten progress
                begin = end - 4096 + last.rindex(b"\r") + 1
        size = _SHORT if end - begin <= _SHORT else 2 * columns + _OVERLAP
        while True:
            data = self._read(begin, min(size, end - begin))
            text = readable(data)
            is_complete = size >= min(end - begin, _LONGEST)
            if is_complete or len(text) >= columns + _HEAD:  # an escape may be cut at the end
                more = len(text) > columns or size < end - begin
                return FileLine(text[:columns], more)
            size *= 4

    # Search

    def _find(
        self, pattern: re.Pattern[str], start: int, step: int, words: tuple[bytes, ...] = ()
    ) -> Iterator[int | None]:
        if step > 0:
            return self._forwards(pattern, max(start, 0), words)
        return self._backwards(pattern, start, words)

    def _forwards(self, pattern: re.Pattern[str], number: int, words: tuple[bytes, ...]) -> Iterator[int | None]:
        epoch, begin = self._epoch, self._start(number)
        while epoch is self._epoch and begin < self._end:
            data = self._read(begin, min(_CHUNK, self._end - begin))
            whole = data.rfind(b"\n") + 1 or len(data)
            long_line = whole == len(data) == _CHUNK and not data.endswith(b"\n")
            for hit in _hits(pattern, data[:whole], number, words):
                yield hit
                if epoch is not self._epoch:
                    return
            if not data:
                return
            number += data.count(b"\n", 0, whole)
            begin += whole - (_OVERLAP if long_line else 0)
            yield None

    def _backwards(self, pattern: re.Pattern[str], number: int, words: tuple[bytes, ...]) -> Iterator[int | None]:
        epoch, number = self._epoch, min(number, self.line_count - 1)
        end = self._start(number + 1)
        while epoch is self._epoch and end > self._base:
            begin = max(end - _CHUNK, self._base)
            data = self._read(begin, end - begin)
            if not data:
                return
            if begin > self._base and (first := data.find(b"\n", 0, len(data) - 1) + 1):
                begin, data = begin + first, data[first:]
            top = number - data.count(b"\n") + data.endswith(b"\n")
            for hit in reversed(_hits(pattern, data, top, words)):
                yield hit
                if epoch is not self._epoch:
                    return
            in_a_line = begin > self._base and self._read(begin - 1, 1) != b"\n"
            number = top if in_a_line else top - 1
            end = begin + (min(_OVERLAP, len(data) // 2) if in_a_line else 0)
            yield None


def _hits(pattern: re.Pattern[str], data: bytes, number: int, words: tuple[bytes, ...]) -> list[int]:
    """Numbers of matching lines in `data`, which starts with line `number`.

    Args:
        words: every match contains one of them, in lower case; searching for them first is faster.
    """
    if words:
        lower = data.lower()
        if not any(word in lower for word in words):
            return []
    text = readable(data)
    hits: list[int] = []
    at = 0
    for match in pattern.finditer(text):
        number += text.count("\n", at, match.start())
        at = match.start()
        if not hits or hits[-1] != number:
            hits.append(number)
    return hits


class _Scan(threading.Thread):
    """Indexes the part of a large file before its tail."""

    def __init__(self, path: Path, upto: int, identity: tuple[int, int]) -> None:
        super().__init__(name="log index", daemon=True)
        self.stop = threading.Event()
        self.before = array("Q", [0])
        self.done = 0
        self._path = path
        self._upto = upto
        self._identity = identity
        self.start()

    def run(self) -> None:
        try:
            with open_regular(self._path) as file:
                status = os.fstat(file.fileno())
                if (status.st_dev, status.st_ino) == self._identity:
                    self._count(file.fileno())
        except OSError:
            return  # `done` says how far it got

    def _count(self, file: int) -> None:
        count = 0
        while self.done < self._upto and not self.stop.is_set():
            size = min(16 * BLOCK, self._upto - self.done)
            data = os.pread(file, size, self.done)
            if len(data) < size:
                return
            for at in range(0, size, BLOCK):
                count += data.count(b"\n", at, at + BLOCK)
                self.before.append(count)
            self.done += size
