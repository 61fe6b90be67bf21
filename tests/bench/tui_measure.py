"""What the benches of the terminal interface measure, from outside: a program on a real pseudo terminal."""

from __future__ import annotations

import math
import os
import random
import re
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

import psutil
from terminal import Shown, Terminal, cpu_seconds, rss
from wait import pass_time, until

from qairt.engine.record.folder import RunFolder

SUPPORT = Path(__file__).parents[1] / "support"
QAIRT = (sys.executable, "-m", "qairt")
_TITLE = re.compile(r"Log · (\S+ \S+)")
_COLUMNS = re.compile(r"STAGE +([<>\d ]+)")
HEAVY = (sys.executable, "-m", "heavy_stages")


@dataclass(frozen=True)
class Row:
    """One line of the table."""

    criterion: str
    what: str
    target: str
    measured: str
    holds: bool | None
    """None where nothing is asked: said for comparison."""


@dataclass(frozen=True)
class Load:
    """What a program cost over a while."""

    cpu: float
    """Percent of one core: the process that shows the screen."""
    bytes: float
    """A second, to the terminal."""
    rss: int


@dataclass
class Bench:
    """A folder of its own, and what was found."""

    folder: Path
    seconds: float
    """How long a load is watched."""
    rows: list[Row] = field(default_factory=list)

    def add(self, criterion: str, what: str, target: str, measured: str, holds: bool | None) -> None:
        row = Row(criterion, what, target, measured, holds)
        self.rows.append(row)
        print(as_line(row), flush=True)

    def new_folder(self) -> Path:
        """An empty folder, such as for a cache."""
        return Path(tempfile.mkdtemp(dir=self.folder))

    def open(self, *command: str, size: tuple[int, int] = (120, 36), **env: str) -> Terminal:
        """A program on a terminal; what it keeps for its user it keeps in the bench's folder."""
        folders = ("XDG_CONFIG_HOME", "XDG_STATE_HOME", "XDG_CACHE_HOME", "XDG_DATA_HOME", "PYTHONPYCACHEPREFIX")
        own = {name: str(self.folder / name) for name in folders} | {"PYTHONDONTWRITEBYTECODE": ""}
        return Terminal(command, size, own | {"PYTHONPATH": str(SUPPORT)} | env, self.folder)

    @contextmanager
    def playing(self, cache: Path, recipe: Path, *words: str) -> Iterator[None]:
        """A simulated run, played in real time by another process."""
        command = [sys.executable, "-m", "simulated_runs", str(cache), "--recipe", str(recipe), *words]
        with beside(*command):
            events = cache / "pipeline_state" / "runs" / "0001" / "events.jsonl"
            until(lambda: events.exists() and events.stat().st_size > 0)
            yield


def as_line(row: Row) -> str:
    verdict = {True: "holds", False: "DOES NOT HOLD", None: ""}[row.holds]
    return f"{row.criterion:4} {row.what:66} {row.target:22} {row.measured:48} {verdict}".rstrip()


@contextmanager
def beside(*command: str) -> Iterator[subprocess.Popen[bytes]]:
    """Another program at the same time."""
    process = subprocess.Popen(command, env=os.environ | {"PYTHONPATH": str(SUPPORT)}, stdin=subprocess.DEVNULL)
    try:
        yield process
    finally:
        process.kill()
        process.wait()


@contextmanager
def hogs(count: int) -> Iterator[None]:
    """So many processes that do nothing but compute."""
    running = [subprocess.Popen([sys.executable, "-c", "while True: sum(range(10000))"]) for _ in range(count)]
    try:
        yield
    finally:
        for process in running:
            process.kill()
            process.wait()


def is_shown(text: str) -> bool:
    """Whether a run that goes is shown, with its items: before those are there, keys have nothing to move in."""
    return "running" in text and "split_model" in text


def is_going(run: RunFolder) -> Callable[[], bool]:
    """Asks whether a run still goes."""
    return lambda: run.liveness() == "running"


def load(terminal: Terminal, seconds: float, *, going: Callable[[], object] = lambda: True) -> Load:
    """Watch a program for some seconds, or as long as something goes on."""
    app = app_of(terminal)
    before, start = cpu_seconds(app), time.monotonic()
    until(lambda: time.monotonic() >= start + seconds or not going(), math.inf, every=0.05)
    now = time.monotonic()
    took = now - start
    sent = len(terminal.bytes_between(start, now))
    return Load(100 * (cpu_seconds(app) - before) / took, sent / took, rss(app))


def app_of(terminal: Terminal) -> psutil.Process:
    """The process that shows the screen; ours has a parent that only waits."""
    started = psutil.Process(terminal.process.pid)
    forked = [child for child in started.children() if child.cmdline() == started.cmdline()]
    return forked[0] if len(forked) == 1 else started


def _cursor(terminal: Terminal, text: str) -> tuple[object, ...]:
    """Where the selection is, the item that the log's title names, and the numbers of the matrix's columns: when all
    scrolls under the selection, only those change."""
    title, columns = _TITLE.search(text), _COLUMNS.search(text)
    return terminal.selection(), title and title[1], columns and columns[1]


def _has_moved(terminal: Terminal, before: tuple[object, ...], text: str) -> bool:
    return _cursor(terminal, text) != before


def cursor_latencies(
    terminal: Terminal,
    keys: str,
    *,
    going: Callable[[], object] = lambda: True,
    pause: tuple[float, float] = (0.1, 0.4),
) -> list[float]:
    """Seconds from each cursor key to the selection at its new place.

    The keys must each go to another item. Between them is a pause by chance, so that they fall anywhere between two
    refreshes.
    """
    chance = random.Random(1)
    found = []
    for key in keys:
        if not going():
            break
        found.append(terminal.paint_latency(key, partial(_has_moved, terminal, _cursor(terminal, terminal.text()))))
        pass_time(chance.uniform(*pause))
    return found


def key_latencies(
    terminal: Terminal, key: str, shown: Sequence[Shown], times: int, *, going: Callable[[], object] = lambda: True
) -> list[float]:
    """Seconds from one key, pressed again and again, to what it shows: each of `shown` in turn."""
    chance = random.Random(1)
    found = []
    for turn in range(times):
        if not going():
            break
        found.append(terminal.paint_latency(key, shown[turn % len(shown)]))
        pass_time(chance.uniform(0.1, 0.4))
    return found


@dataclass
class Starts:
    """Several starts of one program."""

    seconds: list[float] = field(default_factory=list)
    cpu: list[float] = field(default_factory=list)

    def time(self, terminal: Terminal, shown: Shown) -> None:
        """Wait until it is shown, then end the program."""
        with terminal:
            took = terminal.wait_for(shown)
            started = psutil.Process(terminal.process.pid)
            self.cpu.append(sum(cpu_seconds(process) for process in {started, app_of(terminal)}))
            self.seconds.append(took)

    @property
    def median(self) -> float:
        return statistics.median(self.seconds)

    def __str__(self) -> str:
        low, high = min(self.seconds), max(self.seconds)
        cpu = statistics.median(self.cpu)
        return f"{1000 * self.median:.0f} ms ({1000 * low:.0f}-{1000 * high:.0f}), {1000 * cpu:.0f} ms of CPU"


def p95(values: Sequence[float]) -> float:
    return sorted(values)[min(int(0.95 * len(values)), len(values) - 1)]


def spread(values: Sequence[float]) -> str:
    """Median, 95th percentile and maximum in milliseconds."""
    middle = statistics.median(values)
    return f"p50 {1000 * middle:.0f}, p95 {1000 * p95(values):.0f}, max {1000 * max(values):.0f} ms (n={len(values)})"
