"""How far an evaluation is: a bar with the time left on a terminal, a line now and then elsewhere."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from qairt.amounts import about
from qairt.cli.console import is_terminal, tell

if TYPE_CHECKING:
    from rich.progress import TaskID

_EVERY = 10.0  # seconds between lines
_EARLY = 0.02  # share of the work from which its pace tells something
_DONE = 0.995  # share that is shown as all of it


@contextmanager
def watch() -> Iterator[Callable[[str, float], None]]:
    """What `LLMPipeline.evaluation` tells its progress to; on standard error, for scores go to standard output."""
    if is_terminal(sys.stderr):
        yield from _bars()
    else:
        yield Lines(tell)


class Lines:
    """A line when something new is measured, and one every ten seconds.

    Args:
        say: prints a line.
        clock: seconds.
    """

    def __init__(self, say: Callable[[str], None], clock: Callable[[], float] = time.monotonic) -> None:
        self._say = say
        self._clock = clock
        self._what = ""
        self._began = 0.0
        self._said = 0.0

    def __call__(self, what: str, part: float) -> None:
        now = self._clock()
        if what != self._what:
            self._what, self._began, self._said = what, now, now
            self._say(what)
        elif now - self._said >= _EVERY and part < _DONE:
            self._said = now
            self._say(f"{what}: {part:.0%}{left(part, now - self._began)}")


def left(part: float, seconds: float) -> str:
    """`, about 12 s left`, empty while that is not known."""
    return f", about {about(seconds * (1 - part) / part)} left" if _EARLY <= part < _DONE else ""


def _bars() -> Iterator[Callable[[str, float], None]]:
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TextColumn

    columns = (
        TextColumn("{task.description}", markup=False),
        BarColumn(24),
        TextColumn("{task.percentage:3.0f}%{task.fields[left]}", markup=False),
    )
    tasks: dict[str, tuple[TaskID, float]] = {}
    with Progress(*columns, console=Console(stderr=True, highlight=False), transient=True) as bars:

        def show(what: str, part: float) -> None:
            if what not in tasks:
                tasks[what] = bars.add_task(what, total=1.0, left=""), time.monotonic()
            task, began = tasks[what]
            bars.update(task, completed=part, left=left(part, time.monotonic() - began))

        yield show
