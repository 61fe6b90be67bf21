"""A real program on a real pseudo terminal: what it shows and sends, how fast, and how it ends."""

from __future__ import annotations

import base64
import fcntl
import os
import pty
import re
import select
import signal
import struct
import subprocess
import termios
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import psutil
import pyte
from wait import until

PATIENCE = 15.0
"""Seconds to wait for something immediate: the machine may be busy."""

ANSWERS = {
    b"\x1b[?2026$p": b"\x1b[?2026;2$y",  # synchronized output: supported, off
    b"\x1b[?2048$p": b"\x1b[?2048;0$y",  # resize by message: not known
    b"\x1b[c": b"\x1b[?62;22c",
    b"\x1b[6n": b"\x1b[1;1R",
}
"""A terminal's responses to queries."""

_UNSET = ("CI", "NO_COLOR", "SSH_CONNECTION", "TMUX", "QAIRT_THEME", "TEXTUAL", "TEXTUAL_DRIVER", "COLUMNS", "LINES")
_NOT_FOR_PYTE = re.compile(rb"\x1b\[[<>=][0-9;]*[a-z]|\x1b\[\?[0-9;]*\$p|\x1b\][0-9]+;[^\x07\x1b]*(?:\x07|\x1b\\)")
_FRAME, _FRAME_END = b"\x1b[?2026h", b"\x1b[?2026l"
"""Output between them is shown as one frame."""
_UNFINISHED = re.compile(rb"\x1b(?:\[[0-9;?<>=$]*|\][^\x07\x1b]*\x1b?)?$")

_RESULTS = " reused from the cache"
"""On the page of a run's results."""

Shown = str | Callable[[str], bool]
"""A text that must be on the screen, or a condition on the screen's text."""


class Terminal:
    """Starts `command` on a new terminal, as its controlling terminal.

    Every byte is kept with the moment it came. The screen is only made of them when it is asked for, so that looking
    costs nothing while something is measured.

    Args:
        size: columns and lines.
        env: added to this process's environment, in which nothing tells of the terminal that the tests run in.
    """

    def __init__(
        self,
        command: Sequence[str],
        size: tuple[int, int] = (80, 24),
        env: Mapping[str, str] | None = None,
        cwd: Path | None = None,
    ) -> None:
        own = {name: value for name, value in os.environ.items() if name not in _UNSET}
        own |= {"TERM": "xterm-256color", "COLORTERM": "truecolor", "LC_ALL": "C.UTF-8"} | dict(env or {})
        self._master, slave = pty.openpty()
        self.size = size
        _set_size(slave, size)
        self._screen = pyte.Screen(*size)
        self._stream = pyte.ByteStream(self._screen)
        self._records: list[tuple[float, bytes]] = []
        self._drawn = 0
        self._rest = b""
        self._lock = threading.Lock()
        self._changed = threading.Condition(self._lock)
        self.closed = False
        self.began = time.monotonic()
        self.process = subprocess.Popen(
            list(command),
            stdin=slave,
            stdout=slave,
            stderr=slave,
            env=own,
            cwd=cwd,
            start_new_session=True,
            preexec_fn=_take_terminal,
        )
        os.close(slave)
        self._thread = threading.Thread(target=self._read, name="terminal", daemon=True)
        self._thread.start()

    def __enter__(self) -> Terminal:
        return self

    def __exit__(self, *_: object) -> None:
        self.end()

    # Keys and size

    def send(self, keys: str | bytes) -> float:
        """Type `keys`; returns when they were sent."""
        now = time.monotonic()
        os.write(self._master, keys.encode() if isinstance(keys, str) else keys)
        return now

    def escape(self) -> None:
        """Press escape, and wait until it cannot be taken for the start of another key: until the program responds."""
        pressed = self.send("\x1b")
        with suppress(AssertionError):
            until(lambda: time.monotonic() >= pressed + 0.2 and self.times_between(pressed, float("inf")), 2.0)

    def resize(self, columns: int, lines: int) -> None:
        """Resize the window."""
        self._draw()
        self.size = (columns, lines)
        self._screen.resize(lines, columns)
        _set_size(self._master, self.size)

    # The screen

    def text(self) -> str:
        """The text on the screen now."""
        self._draw()
        return self._shown()

    def wait_for(self, shown: Shown, timeout: float = PATIENCE, since: float | None = None) -> float:
        """Wait until it is shown; returns the seconds from `since` (or the start) to the byte that completed it.

        Raises:
            AssertionError: it was not shown in time; contains what is shown instead.
        """
        holds = shown if callable(shown) else lambda text: shown in text
        start = self.began if since is None else since
        deadline = time.monotonic() + timeout
        came = self._drawn_at()
        while not holds(self._shown()):
            step = self._draw_next()
            if step is not None:
                came = step
                continue
            left = deadline - time.monotonic()
            over = self.closed and not self._waiting()
            if left <= 0 or over:
                what = shown if isinstance(shown, str) else "what was waited for"
                raise AssertionError(f"{what!r} is not shown{' and the program ended' if over else ''}:\n{self.text()}")
            with self._changed:
                self._changed.wait_for(lambda: self._drawn < len(self._records) or self.closed, min(left, 0.5))
        return came - start

    def pass_results(self, timeout: float = PATIENCE) -> None:
        """Wait for the page that opens when a run ends on this screen, and go to the stages behind it."""
        self.wait_for(_RESULTS, timeout)
        self.send("\r")
        self.wait_for(lambda text: _RESULTS not in text and " items" in text, timeout)

    def reach_stages(self, items: str, timeout: float = PATIENCE) -> None:
        """Wait for the stages of a run that may have ended before it was shown: then no page opens."""
        self.wait_for(lambda text: items in text or _RESULTS in text, timeout)
        if _RESULTS in self.text():
            self.pass_results(timeout)

    def settle(self, quiet: float = 0.3, timeout: float = 5.0) -> None:
        """Wait until there was no output for `quiet` seconds, at most `timeout` seconds."""

        def is_quiet() -> bool:
            with self._lock:
                last = self._records[-1][0] if self._records else self.began
            return time.monotonic() - last >= quiet

        with suppress(AssertionError):
            until(is_quiet, timeout)

    def paint_latency(self, key: str | bytes, shown: Shown | None = None, timeout: float = 10.0) -> float:
        """Seconds from a key to what it should show; without `shown`, to a selection that has moved."""
        self._draw()
        before = self.selection()
        sent = self.send(key)
        return self.wait_for(shown or (lambda text: self.selection() != before), timeout, since=sent)

    def selection(self) -> set[tuple[int, int]]:
        """Line and column of each cell in reverse video, which marks the selection."""
        return {(y, x) for y, line in self._screen.buffer.items() for x, cell in line.items() if cell.reverse}

    def cells(self) -> list[list[pyte.screens.Char]]:
        """The screen's cells with their colours, line by line."""
        self._draw()
        return [[self._screen.buffer[y][x] for x in range(self._screen.columns)] for y in range(self._screen.lines)]

    # The bytes

    def bytes(self) -> bytes:
        """All output."""
        return self.bytes_between(0, float("inf"))

    def bytes_between(self, start: float, end: float) -> bytes:
        """Output between two moments of `time.monotonic`."""
        with self._lock:
            return b"".join(data for moment, data in self._records if start <= moment < end)

    def times_between(self, start: float, end: float) -> list[tuple[float, int]]:
        """Time and size of each chunk of output."""
        with self._lock:
            return [(moment, len(data)) for moment, data in self._records if start <= moment < end]

    # The process

    def app(self) -> psutil.Process:
        """The process that shows the screen: the only child of the started one."""
        found: list[psutil.Process] = []

        def is_started() -> bool:
            nonlocal found
            with suppress(psutil.Error):
                found = psutil.Process(self.process.pid).children()
            return len(found) == 1 or self.closed

        until(is_started, PATIENCE, every=0.01, describe=self.text)
        assert len(found) == 1, f"there is no app:\n{self.text()}"
        return found[0]

    def wait(self, timeout: float = PATIENCE) -> int:
        """The exit code that a shell sees."""
        try:
            code = self.process.wait(timeout)
        except subprocess.TimeoutExpired:
            raise AssertionError(f"it has not ended:\n{self.text()}") from None
        self._thread.join(1.0)
        return code if code >= 0 else 128 - code

    def hangup(self) -> None:
        """Close the connection."""
        self._close()

    def kill(self) -> None:
        """Kill the started process."""
        self.process.kill()

    def end(self) -> None:
        """End everything on this terminal; a detached run continues."""
        with suppress(ProcessLookupError, psutil.Error):
            if self.process.poll() is None:
                session = os.getsid(self.process.pid)
                for process in psutil.process_iter():
                    with suppress(psutil.Error, OSError):
                        if os.getsid(process.pid) == session:
                            process.send_signal(signal.SIGKILL)
        self.process.wait(PATIENCE)
        self._close()

    # Inside

    def _close(self) -> None:
        self.closed = True
        self._thread.join(2.0)
        with suppress(OSError):
            os.close(self._master)

    def _read(self) -> None:
        tail = b""
        while not self.closed:
            ready, _, _ = select.select([self._master], [], [], 0.1)
            if not ready:
                continue
            try:
                data = os.read(self._master, 1 << 16)
            except OSError:  # nobody has the other end open any more
                data = b""
            now = time.monotonic()
            with self._changed:
                if not data:
                    self.closed = True
                else:
                    self._records.append((now, data))
                self._changed.notify_all()
            tail += data
            for question, answer in ANSWERS.items():
                for _ in range(tail.count(question)):
                    with suppress(OSError):
                        os.write(self._master, answer)
                tail = tail.replace(question, b"")
            tail = tail[-16:]

    def _waiting(self) -> bool:
        with self._lock:
            return self._drawn < len(self._records)

    def _drawn_at(self) -> float:
        with self._lock:
            return self._records[self._drawn - 1][0] if self._drawn else self.began

    def _draw_next(self) -> float | None:
        """Draw the next chunk; returns its time, or None if there is none."""
        with self._lock:
            if self._drawn >= len(self._records):
                return None
            moment, data = self._records[self._drawn]
            self._drawn += 1
        data = self._rest + data
        frame = data.rfind(_FRAME)
        if frame < 0 or data.find(_FRAME_END, frame) >= 0:
            unfinished = _UNFINISHED.search(data)
            frame = unfinished.start() if unfinished else len(data)
        data, self._rest = data[:frame], data[frame:]
        self._stream.feed(_NOT_FOR_PYTE.sub(b"", data))
        return moment

    def _draw(self) -> None:
        while self._draw_next() is not None:
            pass

    def _shown(self) -> str:
        return "\n".join(self._screen.display)


@dataclass(frozen=True)
class Colours:
    """Numbers of colour codes in the output, by kind."""

    truecolor: int
    palette: int
    """Of 256."""
    basic: int
    """Of 16."""

    @property
    def any(self) -> int:
        return self.truecolor + self.palette + self.basic


def colours(data: bytes) -> Colours:
    """The colours that `data` sets, without bold, dim and reverse."""
    found = {2: 0, 5: 0, 16: 0}
    for codes in re.findall(rb"\x1b\[([0-9;:]*)m", data):
        numbers = [int(number) if number else 0 for number in re.split(rb"[;:]", codes)]
        while numbers:
            first = numbers.pop(0)
            if first in (38, 48, 58) and numbers:
                kind = numbers.pop(0)
                found[kind] += 1
                del numbers[: 3 if kind == 2 else 1]
            elif 30 <= first <= 37 or 40 <= first <= 47 or 90 <= first <= 97 or 100 <= first <= 107:
                found[16] += 1
    return Colours(found[2], found[5], found[16])


def clears(data: bytes) -> int:
    """Number of full-screen clears, which flicker."""
    return data.count(b"\x1b[2J")


def copied(data: bytes) -> list[str]:
    """Text copied to the terminal's clipboard."""
    return [
        base64.b64decode(payload).decode()
        for payload in re.findall(rb"\x1b\]52;[^;]*;([A-Za-z0-9+/=]*)(?:\x07|\x1b\\)", data)
    ]


def shown_bytes(data: bytes) -> bytes:
    """`data` without control sequences."""
    data = re.sub(rb"\x1b\][^\x07\x1b]*(?:\x07|\x1b\\)", b"", data)
    return re.sub(rb"\x1b(?:\[[0-9;:?<>=$]*[A-Za-z]|[()][A-Z0-9]|[=>78])", b"", data)


def cpu_seconds(process: psutil.Process) -> float:
    """User and system time of the process itself."""
    times = process.cpu_times()
    return times.user + times.system


def rss(process: psutil.Process) -> int:
    """Bytes."""
    return process.memory_info().rss


def _take_terminal() -> None:
    signal.signal(signal.SIGHUP, signal.SIG_DFL)  # also where the tests themselves ignore it
    fcntl.ioctl(0, termios.TIOCSCTTY, 0)


def _set_size(number: int, size: tuple[int, int]) -> None:
    columns, lines = size
    fcntl.ioctl(number, termios.TIOCSWINSZ, struct.pack("HHHH", lines, columns, 0, 0))
