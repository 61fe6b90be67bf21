"""What outlives what: A10, A11."""

from __future__ import annotations

import os
import random
import re
import signal
import time
from collections.abc import Callable
from contextlib import suppress
from functools import partial

from terminal import Terminal
from tui_measure import QAIRT, Bench, app_of
from tui_times import newest, recipe_of
from wait import pass_time, until

from qairt.engine.record import events as ev
from qairt.engine.record.folder import RunFolder

DROPS = 20
KILLS = 5
_COUNT = re.compile(r"(\d+)/31 items")


def shown(text: str) -> int:
    """How many items the screen says are made; -1 where it does not say."""
    found = _COUNT.search(text)
    return int(found[1]) if found else -1


def made(run: RunFolder) -> tuple[int, int]:
    """How many items the run's file says are made, and the number of its last event."""
    events = ev.read_events(run.events)
    return sum(isinstance(event, ev.ItemFinished | ev.CacheHit) for event in events), events[-1].seq


def start(bench: Bench, *words: str) -> tuple[Terminal, RunFolder]:
    """A real compile on a new terminal, which the caller ends."""
    cache = bench.new_folder()
    terminal = bench.open(*QAIRT, "tui", str(recipe_of(bench)), "--run", "--cache-dir", str(cache), *words)
    terminal.wait_for("running", 30)
    return terminal, newest(cache)


def drops(bench: Bench) -> None:
    """A10: the connection drops, or the program is killed, at random times; 20 of each."""
    _drop(bench, "connection drops, run in the program", Terminal.hangup, each=True)
    _drop(bench, "connection drops, --host", Terminal.hangup, "--host")
    _drop(bench, "kill -9, --host", lambda terminal: app_of(terminal).kill(), "--host")


def _drop(bench: Bench, what: str, drop: Callable[[Terminal], None], *words: str, each: bool = False) -> None:
    """Drop a real compile's screen, come back, and so on.

    Args:
        each: drop the screen that started the run each time, thus with a new run; only the last goes to its end.
    """
    chance, survived, came_back = random.Random(3), 0, 0
    terminal, run = start(bench, *words)
    runs = [run]
    for turn in range(DROPS):
        if each and turn:
            _end(run)
        if run.liveness() != "running":
            terminal.end()
            terminal, run = start(bench, *words)
            runs.append(run)
        pass_time(chance.uniform(0.05, 1.5))
        seen = shown(terminal.text())
        items, seq = made(run)
        drop(terminal)
        terminal.wait(30)
        pass_time(0.3)
        survived += run.liveness() in ("running", "over")
        terminal.end()
        terminal = bench.open(*QAIRT, "attach", run.id, "--cache-dir", str(run.path.parents[2]))
        with suppress(AssertionError):
            terminal.wait_for(partial(_shows, max(items, seen)))
            came_back += made(run)[1] >= seq
    until(lambda: run.liveness() != "running", 120)
    terminal.end()
    ended = runs[-1:] if each else runs
    whole = sum(map(_is_whole, ended))
    for said, count, of in (
        ("the run goes on", survived, DROPS),
        ("back, nothing seen is missing", came_back, DROPS),
        ("runs that are whole at their end", whole, len(ended)),
    ):
        bench.add("A10", f"{what}: {said}", f"{of}/{of}", f"{count}/{of}", count == of)


def _end(run: RunFolder) -> None:
    host = run.host()
    if host is not None and run.liveness() == "running":
        os.kill(host.pid, signal.SIGKILL)
        until(lambda: run.liveness() != "running")


def _shows(least: int, text: str) -> bool:
    return shown(text) >= least


def _is_whole(run: RunFolder) -> bool:
    """Every event is there, in order, and the last says that all is done."""
    events = ev.read_events(run.events)
    last = events[-1]
    return [each.seq for each in events] == list(range(1, len(events) + 1)) and getattr(last, "status", "") == "done"


def killed_host(bench: Bench) -> None:
    """A11: from the death of the run's process to the screen that says so."""
    seconds = []
    for _ in range(KILLS):
        terminal, run = start(bench, "--host")
        pass_time(random.Random(len(seconds)).uniform(0.5, 3.0))
        host = run.host()
        assert host is not None
        os.kill(host.pid, signal.SIGKILL)
        seconds.append(terminal.wait_for("interrupted", since=time.monotonic()))
        terminal.end()
    measured = f"{1000 * max(seconds):.0f} ms at most ({1000 * min(seconds):.0f} at least, n={KILLS})"
    bench.add("A11", "kill -9 of the run: the screen says interrupted", "<= 2000 ms", measured, max(seconds) <= 2)
