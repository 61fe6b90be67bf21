"""A storm of log lines on a real terminal (A9): `LogView` on the file, beside Textual's `Log` in the same run.

    python tests/bench/tui_log.py [--seconds 60] [--rate 2000] [--json]

Another process writes `--rate` lines a second to a file; the program on the terminal shows its end. Some four times
a second a key is pressed that changes one word of the title, and the time until that is on the terminal is taken.
CPU is user and system time of the program as a share of one core; bytes are what it wrote to the terminal. Afterwards
every line of the file, by number, is compared with what was written.
"""

from __future__ import annotations

import argparse
import fcntl
import json
import os
import pty
import random
import select
import signal
import statistics
import struct
import subprocess
import sys
import tempfile
import termios
import time
from pathlib import Path
from typing import Any

import pyte
from textual.app import App, ComposeResult
from textual.binding import Binding
from textual.widgets import Log

from qairt.tui.themes import VARIABLE_DEFAULTS
from qairt.tui.widgets.log_view import LogView

COLUMNS, LINES = 120, 36
RATE = 4
START_SECONDS = 3.0


def the_line(number: int) -> str:
    return f"22:{number // 60 % 60:02}:{number % 60:02} ctx-gen  [INFO ] graph llama_s3: finalizing op {number}/120000"


def write_lines(path: Path, rate: int, seconds: float) -> None:
    """Write lines at a steady rate, each batch at once as a tool would."""
    begin, number = time.monotonic(), 0
    with path.open("ab", buffering=0) as log:
        while number < rate * seconds:
            due = min(int(rate * (time.monotonic() - begin)) + 1, int(rate * seconds))
            log.write("".join(the_line(each) + "\n" for each in range(number, due)).encode())
            number = due
            time.sleep(0.005)


class Ours(App[None]):
    """`LogView`, as pane 4 of the monitor has it."""

    CSS = "LogView, Log { border: round $border; }"
    BINDINGS = [Binding("f12", "check", show=False)]

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.animation_level = "none"
        self.path = path
        self.view = LogView(compact=True)

    def get_theme_variable_defaults(self) -> dict[str, str]:
        return VARIABLE_DEFAULTS

    def compose(self) -> ComposeResult:
        yield self.view

    def on_mount(self) -> None:
        self.view.open(self.path, "convert ar1-split2")
        self.view.focus()
        self.set_interval(1 / RATE, self.view.refresh_from_file)

    def action_check(self) -> None:
        """Compare every line with what was written."""
        self.view.refresh_from_file()
        file = self.view.file
        assert file is not None
        lines = [line.text for line in file.lines(0, file.line_count)]
        wrong = sum(line != the_line(number) for number, line in enumerate(lines))
        self.path.with_suffix(".seen").write_text(json.dumps({"lines": len(lines), "wrong": wrong}))


class Theirs(App[None]):
    """Textual's `Log`, fed as often."""

    CSS = Ours.CSS
    BINDINGS = [Binding("f", "follow", show=False), Binding("f12", "check", show=False)]

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.animation_level = "none"
        self.path = path
        self.file = path.open()
        self.log_widget = Log()

    def get_theme_variable_defaults(self) -> dict[str, str]:
        return VARIABLE_DEFAULTS

    def compose(self) -> ComposeResult:
        yield self.log_widget

    def on_mount(self) -> None:
        self.log_widget.border_title = "following"
        self.set_interval(1 / RATE, self.read)

    def read(self) -> None:
        if lines := self.file.read().splitlines():
            self.log_widget.write_lines(lines)

    def action_follow(self) -> None:
        self.log_widget.auto_scroll = not self.log_widget.auto_scroll
        self.log_widget.border_title = "following" if self.log_widget.auto_scroll else "stands"
        if self.log_widget.auto_scroll:
            self.log_widget.scroll_end(animate=False)

    def action_check(self) -> None:
        self.read()
        wrong = sum(line != the_line(number) for number, line in enumerate(self.log_widget.lines))
        seen = {"lines": self.log_widget.line_count, "wrong": wrong}
        self.path.with_suffix(".seen").write_text(json.dumps(seen))


class Terminal:
    """A program on a terminal of its own, and what stands on it."""

    def __init__(self, which: str, path: Path) -> None:
        self.pid, self.file = pty.fork()
        if not self.pid:
            os.environ.update(TERM="xterm-256color", COLORTERM="truecolor", TEXTUAL_SMOOTH_SCROLL="0")
            os.environ.pop("NO_COLOR", None)
            os.execv(sys.executable, [sys.executable, __file__, "--show", which, str(path)])
        fcntl.ioctl(self.file, termios.TIOCSWINSZ, struct.pack("HHHH", LINES, COLUMNS, 0, 0))
        self.screen = pyte.Screen(COLUMNS, LINES)
        self.stream = pyte.ByteStream(self.screen)
        self.count = 0

    def read(self, seconds: float) -> float:
        """Take what it writes within `seconds`, as soon as something came; when that was."""
        ready, _, _ = select.select([self.file], [], [], max(seconds, 0))
        data = os.read(self.file, 1 << 16) if ready else b""
        at = time.monotonic()
        self.count += len(data)
        self.stream.feed(data)
        return at

    def wait(self, seconds: float) -> None:
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            self.read(end - time.monotonic())

    @property
    def follows(self) -> bool:
        return "following" in self.screen.display[0]

    def key_to_paint(self, key: bytes, limit: float = 5) -> float | None:
        """Milliseconds from a key to the other word in the title."""
        before, begin = self.follows, time.monotonic()
        os.write(self.file, key)
        while time.monotonic() - begin < limit:
            at = self.read(limit - (time.monotonic() - begin))
            if self.follows != before:
                return 1000 * (at - begin)
        return None

    def cpu_seconds(self) -> float:
        fields = Path(f"/proc/{self.pid}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    def rss(self) -> float:
        """Megabytes."""
        return int(Path(f"/proc/{self.pid}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE") / 1e6

    def end(self) -> None:
        os.kill(self.pid, signal.SIGKILL)
        os.waitpid(self.pid, 0)
        os.close(self.file)


def storm(which: str, rate: int, seconds: float, folder: Path) -> dict[str, Any]:
    """Half of the time only the storm, for CPU and bytes while it follows; then keys as well."""
    path = folder / f"{which}.log"
    path.touch()
    terminal = Terminal(which, path)
    terminal.wait(START_SECONDS)
    before = terminal.rss()
    writer = subprocess.Popen([sys.executable, __file__, "--write", str(path), str(rate), str(seconds)])
    terminal.wait(0.5)
    cpu, begin, count = terminal.cpu_seconds(), time.monotonic(), terminal.count
    terminal.wait(seconds / 2)
    took = time.monotonic() - begin
    found: dict[str, Any] = {
        "cpu_percent": round(100 * (terminal.cpu_seconds() - cpu) / took, 1),
        "kB_per_s": round((terminal.count - count) / took / 1000, 1),
    }
    rng, times, pressed = random.Random(5), [], 0
    while writer.poll() is None:
        terminal.wait(0.15 + 0.2 * rng.random())
        pressed += 1
        if (time_taken := terminal.key_to_paint(b"f")) is not None:
            times.append(time_taken)
    times.sort()
    found |= {
        "keys": pressed,
        "seen": len(times),
        "p50_ms": round(statistics.median(times), 1),
        "p95_ms": round(times[max(int(0.95 * len(times)) - 1, 0)], 1),
        "max_ms": round(times[-1], 1),
        "rss_grew_MB": round(terminal.rss() - before, 1),
        "written": int(rate * seconds),
    }
    os.write(terminal.file, b"\x1b[24~")
    seen, end = path.with_suffix(".seen"), time.monotonic() + 30
    while not (seen.exists() and seen.stat().st_size) and time.monotonic() < end:
        terminal.wait(0.1)
    terminal.end()
    return found | json.loads(seen.read_text())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=60)
    parser.add_argument("--rate", type=int, default=2000)
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--show", nargs=2, help=argparse.SUPPRESS)
    parser.add_argument("--write", nargs=3, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.show:
        which, path = arguments.show
        (Ours if which == "LogView" else Theirs)(Path(path)).run()
        return
    if arguments.write:
        path, rate, seconds = arguments.write
        write_lines(Path(path), int(rate), float(seconds))
        return
    with tempfile.TemporaryDirectory() as folder:
        found = {
            which: storm(which, arguments.rate, arguments.seconds, Path(folder)) for which in ("LogView", "Textual Log")
        }
    if arguments.json:
        print(json.dumps({"load": os.getloadavg()[0], **found}, indent=2))
        return
    print("load", os.getloadavg()[0])
    for name, numbers in found.items():
        print(f"{name:12} {numbers}")


if __name__ == "__main__":
    main()
