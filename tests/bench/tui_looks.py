"""What the terminal is sent: A13, A14."""

from __future__ import annotations

import math
import time

from terminal import Terminal, clears, shown_bytes
from terminal import colours as colours_of
from tui_measure import QAIRT, Bench
from tui_times import compiled, newest, recipe_of
from wait import settled

SIZES = [(80, 24), (200, 50), (40, 10), (250, 70), (120, 36), (20, 5), (60, 15), (80, 24)]
TOUR = ["?", "p", "R", "C", "t", "L", "w", "c", "X", "q"]
QUIET = 0.4


def redraw_seconds(terminal: Terminal, columns: int, lines: int) -> float:
    """Seconds from a resize to the last byte before the terminal is quiet."""
    start = time.monotonic()
    terminal.resize(columns, lines)
    return settled(lambda: len(terminal.bytes_between(start, math.inf)), QUIET, 5 + QUIET, every=0.01)


def sizes(bench: Bench) -> None:
    """A13: any size, quickly, and no clearing of the whole screen."""
    cache = compiled(bench)
    with bench.open(
        *QAIRT, "tui", str(recipe_of(bench)), "--cache-dir", str(cache), "--attach", newest(cache).id
    ) as terminal:
        terminal.reach_stages("31/31 items")
        terminal.settle()
        begun = time.monotonic()
        for opened in ["", *TOUR]:
            terminal.send(opened)
            terminal.settle(0.2, 2.0)
            found = [redraw_seconds(terminal, *size) for size in SIZES] if opened == "" else []
            if found:
                measured = f"{1000 * max(found):.0f} ms at most of {len(found)}"
                bench.add("A13", "a new size is settled, 20x5 … 250x70", "<= 1000 ms", measured, max(found) <= 1)
            else:
                for size in ((40, 10), (250, 70), (80, 24)):
                    terminal.resize(*size)
                    terminal.settle(0.2, 1.0)
            terminal.send("\x1b")
            terminal.settle(0.2, 1.0)
        alive = terminal.process.poll() is None
        cleared = clears(terminal.bytes_between(begun, time.monotonic()))
    bench.add("A13", f"no crash: {len(TOUR) + 1} screens at 40x10, 250x70, 80x24", "alive", str(alive), alive)
    bench.add("A13", "ESC[2J after the first frame", "0", str(cleared), cleared == 0)


def colours(bench: Bench) -> None:
    """A14: a tour of the screens under each promise."""
    cache = compiled(bench)
    words = ("tui", str(recipe_of(bench)), "--cache-dir", str(cache), "--attach", newest(cache).id)
    for what, more, env in (
        ("NO_COLOR=1", (), {"NO_COLOR": "1"}),
        ("TERM=xterm-16color", (), {"TERM": "xterm-16color", "COLORTERM": ""}),
        ("--ascii", ("--ascii",), {}),
    ):
        with bench.open(*QAIRT, *words, *more, **env) as terminal:
            terminal.reach_stages("31/31 items")
            for key in TOUR:
                terminal.send(key)
                terminal.settle(0.2, 2.0)
                terminal.send("\x1b")
                terminal.settle(0.2, 2.0)
            data = terminal.bytes()
        found = colours_of(data)
        if what == "NO_COLOR=1":
            bench.add("A14", f"{what}: colour codes", "0", str(found.any), found.any == 0)
        elif what == "--ascii":
            high = sum(byte >= 0x80 for byte in shown_bytes(data))
            bench.add("A14", f"{what}: bytes of text >= 0x80", "0", f"{high} of {len(shown_bytes(data))}", high == 0)
        else:
            fine = found.truecolor + found.palette == 0
            measured = f"{found.truecolor} truecolor, {found.palette} of 256, {found.basic} of 16"
            bench.add("A14", f"{what}: truecolor and 256", "0", measured, fine and found.basic > 0)
