"""Progress of an evaluation: a bar with the time left on a terminal, a line now and then elsewhere."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from qairt.amounts import about
from qairt.cli.console import is_terminal, report
from qairt.notify import Notify
from qairt.printable import printable

if TYPE_CHECKING:
    from rich.progress import TaskID

_INTERVAL = 10.0  # seconds between lines
_FIRST_ESTIMATE = 0.02  # fraction of the work from which the time left is estimated
_DONE = 0.995  # fraction that is shown as all of it


@contextmanager
def watch() -> Iterator[Callable[[str, float], None]]:
    """The progress callback of `LLMPipeline.evaluation`; on standard error, since scores go to standard output."""
    if is_terminal(sys.stderr):
        yield from _bars()
    else:
        yield ProgressLines(report)


class ProgressLines:
    """A line when a new measurement begins, and one every ten seconds.

    Args:
        notify: prints a line.
        clock: seconds.
    """

    def __init__(self, notify: Notify, clock: Callable[[], float] = time.monotonic) -> None:
        self._notify = notify
        self._clock = clock
        self._name = ""
        self._began = 0.0
        self._printed = 0.0

    def __call__(self, name: str, fraction: float) -> None:
        now = self._clock()
        if name != self._name:
            self._name, self._began, self._printed = name, now, now
            self._notify(name)
        elif now - self._printed >= _INTERVAL and fraction < _DONE:
            self._printed = now
            self._notify(f"{name}: {fraction:.0%}{time_left(fraction, now - self._began)}")


def time_left(fraction: float, seconds: float) -> str:
    """`, about 12 s left`; empty while it is unknown."""
    return f", about {about(seconds * (1 - fraction) / fraction)} left" if _FIRST_ESTIMATE <= fraction < _DONE else ""


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

        def show(name: str, fraction: float) -> None:
            if name not in tasks:
                tasks[name] = bars.add_task(printable(name), total=1.0, left=""), time.monotonic()
            task, began = tasks[name]
            bars.update(task, completed=fraction, left=time_left(fraction, time.monotonic() - began))

        yield show
