"""CPU, bytes and latency of the stage matrix on a real terminal, beside Textual's DataTable in the same run.

    python tests/bench/tui_widgets.py [--seconds 20] [--json]

A8: 300 rows of 8 splits; 20 items change four times a second. A24: cursor keys in 24 splits x 12 rows, live.
CPU is user and system time of the child as a share of one core; bytes are what it wrote to the terminal.
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
import sys
import termios
import time
from typing import Any

import pyte
from textual.app import App, ComposeResult
from textual.timer import Timer
from textual.widgets import DataTable

from qairt.engine.record import events as ev
from qairt.engine.record.item_state import ItemStatus
from qairt.engine.record.state import RunState
from qairt.tui.terminal.glyphs import MARKS
from qairt.tui.themes import VARIABLE_DEFAULTS
from qairt.tui.widgets.matrix import StageMatrix

COLUMNS, LINES = 120, 36
RATE = 4
CHANGING = 20
CURSOR_KEYS = b"jjjjlllljjjjllllkkkkhhhhhhhhGg"
STATUSES: tuple[ItemStatus, ...] = ("done", "running", "ready", "warn")


def a_state(rows: int, splits: int) -> RunState:
    """A run of `rows` rows, all waiting."""
    entries = [
        ev.PlannedEntry(
            stage=f"stage_{row // 2:03}",
            label=f"ar{128 * (row % 2) or 1}-split{split}",
            coord=(("ar", 128 * (row % 2) or 1), ("split", split)),
            key=f"{row}-{split}",
            cached=False,
            reason="never made",
            seconds=60,
            from_history=True,
        )
        for row in range(rows)
        for split in range(1, splits + 1)
    ]
    return RunState.of_plan(entries, recipe="bench.yaml")


class Live(App[None]):
    """One of the two, with changes four times a second."""

    def __init__(self, rows: int, splits: int, widget: str, change: str, spread: int) -> None:
        super().__init__()
        self.animation_level = "none"
        self.state = a_state(rows, splits)
        self.items = list(self.state.items.values())
        self.splits = splits
        self.random = random.Random(7)
        self.matrix = StageMatrix()
        self.table: DataTable[str] = DataTable()
        self.uses_table = widget == "table"
        self.at_random = change == "random"
        self.spread = min(spread, rows)
        self.ticks: Timer | None = None

    def get_theme_variable_defaults(self) -> dict[str, str]:
        return VARIABLE_DEFAULTS

    def compose(self) -> ComposeResult:
        yield self.table if self.uses_table else self.matrix

    def on_mount(self) -> None:
        if self.uses_table:
            self.table.add_column("STAGE", key="stage")
            for split in range(self.splits):
                self.table.add_column(f"s{split}", key=str(split), width=4)
            for row in range(len(self.items) // self.splits):
                self.table.add_row(f"stage_{row // 2:03}", *["·"] * self.splits, key=str(row))
        else:
            self.matrix.show(self.state, 0.0)
            self.matrix.focus()
        if self.spread:
            self.ticks = self.set_interval(1 / RATE, self.change)

    def change(self) -> None:
        """One item in each of at most twenty rows gets on by a few percent, or to any state at random."""
        for row in range(0, self.spread, max(self.spread // CHANGING, 1)):
            split = self.random.randrange(self.splits) if self.at_random else self.progress(row)
            item = self.items[row * self.splits + split]
            if self.at_random:
                item.status = self.random.choice(STATUSES)
                item.started, item.fraction = 0.0, self.random.random()
            if self.uses_table:
                text = f"▶{int(100 * item.fraction)}" if item.status == "running" else MARKS[item.status].glyph
                self.table.update_cell(str(row), str(split), text)
        if not self.uses_table:
            self.matrix.show(self.state, time.time())

    def progress(self, row: int) -> int:
        """The row's first unfinished item gets on; when all are finished the row begins again."""
        items = self.items[row * self.splits : (row + 1) * self.splits]
        split = next((split for split, item in enumerate(items) if item.status != "done"), 0)
        item = items[split]
        if item.status == "done":
            for each in items:
                each.status, each.fraction, each.seconds = "waiting", 0.0, 0.0
        if item.status == "waiting":
            item.started = time.time()
        item.fraction = min(item.fraction + 0.05 * self.random.random(), 1.0)
        item.status = "done" if item.fraction == 1 else "running"
        item.seconds = time.time() - (item.started or 0.0) if item.status == "done" else 0.0
        return split


class Child:
    """A program on a terminal of its own."""

    def __init__(self, arguments: list[str]) -> None:
        self.pid, self.terminal = pty.fork()
        if not self.pid:
            os.environ.update(TERM="xterm-256color", COLORTERM="truecolor", TEXTUAL_SMOOTH_SCROLL="0")
            os.environ.pop("NO_COLOR", None)
            os.execv(sys.executable, [sys.executable, __file__, "--child", *arguments])
        fcntl.ioctl(self.terminal, termios.TIOCSWINSZ, struct.pack("HHHH", LINES, COLUMNS, 0, 0))

    def read(self, seconds: float) -> bytes:
        """What it writes within `seconds`; returns as soon as something came."""
        ready, _, _ = select.select([self.terminal], [], [], max(seconds, 0))
        try:
            return os.read(self.terminal, 1 << 16) if ready else b""
        except OSError:
            return b""

    def drain(self, seconds: float) -> bytes:
        """All that it writes in `seconds`."""
        end, data = time.monotonic() + seconds, b""
        while (left := end - time.monotonic()) > 0:
            data += self.read(left)
        return data

    def cpu_seconds(self) -> float:
        with open(f"/proc/{self.pid}/stat") as file:
            fields = file.read().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    def end(self) -> None:
        os.kill(self.pid, signal.SIGKILL)
        os.waitpid(self.pid, 0)
        os.close(self.terminal)


def steady(arguments: list[str], seconds: float) -> dict[str, float]:
    """CPU and bytes a second, once it is started."""
    child = Child(arguments)
    child.drain(4)
    cpu, begin = child.cpu_seconds(), time.monotonic()
    count = len(child.drain(seconds))
    took = time.monotonic() - begin
    cpu = child.cpu_seconds() - cpu
    child.end()
    return {"cpu_percent": round(100 * cpu / took, 2), "kB_per_s": round(count / took / 1000, 2)}


def latencies(arguments: list[str], keys: int) -> dict[str, float]:
    """Time from a cursor key to the first write after which the cursor stands elsewhere on the screen."""
    child = Child(arguments)
    screen = pyte.Screen(COLUMNS, LINES)
    stream = pyte.ByteStream(screen)
    stream.feed(child.drain(4))
    rng = random.Random(3)
    times = []
    for number in range(keys):
        stream.feed(child.drain(0.05 + 0.1 * rng.random()))
        before = reversed_places(screen)
        key = CURSOR_KEYS[number % len(CURSOR_KEYS) :][:1]
        begin = time.monotonic()
        os.write(child.terminal, key)
        while time.monotonic() - begin < 1:
            data = child.read(1 - (time.monotonic() - begin))
            at = time.monotonic()
            stream.feed(data)
            if reversed_places(screen) != before:
                times.append(1000 * (at - begin))
                break
    child.end()
    times.sort()
    return {
        "keys": keys,
        "seen": len(times),
        "p50_ms": round(statistics.median(times), 1),
        "p95_ms": round(times[int(0.95 * len(times)) - 1], 1),
        "max_ms": round(times[-1], 1),
    }


def reversed_places(screen: pyte.Screen) -> list[tuple[int, int]]:
    return [(y, x) for y, line in screen.buffer.items() for x, cell in line.items() if cell.reverse]


def measure(seconds: float) -> dict[str, Any]:
    """Every case, one after the other."""
    table = ["300", "8"]
    return {
        "load": os.getloadavg()[0],
        "matrix, nothing changes": steady([*table, "matrix", "progress", "0"], seconds),
        "matrix, progress in 20 rows that are seen": steady([*table, "matrix", "progress", "20"], seconds),
        "matrix, any state at random in these": steady([*table, "matrix", "random", "20"], seconds),
        "matrix, progress all over the 300 rows": steady([*table, "matrix", "progress", "300"], seconds),
        "DataTable, progress in 20 rows that are seen": steady([*table, "table", "progress", "20"], seconds),
        "DataTable, any state at random in these": steady([*table, "table", "random", "20"], seconds),
        "DataTable, progress all over the 300 rows": steady([*table, "table", "progress", "300"], seconds),
        "cursor keys, 24 splits x 12 rows": latencies(["12", "24", "matrix", "progress", "12"], 200),
        "cursor keys, 24 splits x 90 rows": latencies(["90", "24", "matrix", "progress", "90"], 200),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=20)
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--child", nargs=5, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.child:
        rows, splits, widget, change, spread = arguments.child
        Live(int(rows), int(splits), widget, change, int(spread)).run()
        return
    found = measure(arguments.seconds)
    if arguments.json:
        print(json.dumps(found, indent=2))
        return
    for name, numbers in found.items():
        print(f"{name:50} {numbers}")


if __name__ == "__main__":
    main()
