"""A run on a terminal: finished items scroll by; a live region below shows the running ones and the progress."""

from __future__ import annotations

import threading
import time
from types import TracebackType
from typing import TYPE_CHECKING, Self

from qairt.amounts import about, duration
from qairt.cli.console import emit, output_stream
from qairt.cli.watch.watcher import Watcher
from qairt.engine.record import events as ev
from qairt.engine.record import sentences as messages
from qairt.engine.record.eta import SmoothEta, done_of, in_words, is_overdue
from qairt.engine.record.item_state import BUSY
from qairt.engine.record.progress import finished_of_work, progress_of
from qairt.printable import printable

if TYPE_CHECKING:
    from rich.console import RenderableType
    from rich.live import Live

_REFRESH = 4  # a second
_BAR = 24  # columns
_PLANNING_NOTE_S = 2.0  # planning that takes longer gets a line


class LiveRegion(Watcher):
    """Draws with rich, imported when the first item starts: a run with nothing to do never loads it.

    Args:
        stop: set when the run is interrupted.
    """

    def __init__(self, stop: threading.Event) -> None:
        super().__init__()
        self._stop = stop
        self._live: Live | None = None
        self._eta = SmoothEta()
        self._planning = threading.Timer(
            _PLANNING_NOTE_S, self._print, ["planning: reading the model and the files of the recipe"]
        )
        self._planning.daemon = True

    def __enter__(self) -> Self:
        self._planning.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._planning.cancel()
        if self._live is not None:
            self._live.stop()

    def show(self, event: ev.Event) -> None:
        self._planning.cancel()
        match event:
            case ev.RunStarted():
                for line in messages.opening(event):
                    self._print(line)
            case ev.ItemStarted() if self._live is None:
                self._live = self._start()
            case ev.ItemFinished():
                self._print(messages.finished(event), mark="✓ ", style="green")
            case ev.ItemFailedEvent():
                self._print(messages.failed(event), mark="✗ ", style="red")
            case ev.OutputWritten(status="written"):
                self._print(*messages.output(event), mark="✓ ", style="green")
            case ev.OutputWritten(status="failed"):
                self._print(*messages.output(event), mark="✗ ", style="red")
            case ev.LogLine():
                self._print(event.message, mark=f"{event.level}: ", style="yellow")

    def _start(self) -> Live:
        from rich.console import Console
        from rich.live import Live

        live = Live(
            console=Console(file=output_stream(), highlight=False),
            get_renderable=self.draw,
            refresh_per_second=_REFRESH,
            transient=True,
            redirect_stdout=False,
            redirect_stderr=False,
        )
        live.start()
        return live

    def _print(self, text: str, *, mark: str = "", style: str = "") -> None:
        if self._live is None:
            emit(f"{mark}{text}")
            return
        from rich.text import Text

        self._live.console.print(Text.assemble((mark, style), printable(text)), soft_wrap=True)

    def draw(self) -> RenderableType:
        """The region: one line per running item, the bar last."""
        from rich.console import Group
        from rich.progress_bar import ProgressBar
        from rich.table import Table
        from rich.text import Text

        now = time.time()
        with self.lock:
            running = [item for item in self.state.items.values() if item.status in BUSY]
            progress, left = progress_of(self.state, now), self._eta.at(self.state, now)
            finished = self.state.count("done", "warn")
            total = finished_of_work(self.state)[1] - self.state.count("cached")
        widest = max((len(f"{item.stage} {item.label}") for item in running), default=0)
        lines = [Text(overflow="ellipsis", no_wrap=True) for _ in running]
        for line, item in zip(lines, running, strict=True):
            expected = f" of ~{about(item.expected_seconds)}" if item.expected_seconds >= 1 else ""
            if is_overdue(item, now):
                expected = f", longer than estimated (~{about(item.expected_seconds)})"
            line.append(printable(f"  {item.stage} {item.label}").ljust(widest + 2), style="bold")
            line.append(f"  {done_of(item, now):4.0%}  {duration(now - (item.started or now))}{expected}")
            line.append(f"  {printable(item.message)}", style="dim")
        foot = Table.grid(padding=(0, 2))
        bar = ProgressBar(total=1.0, completed=progress.certain, width=_BAR)
        rest = "stopping running items" if self._stop.is_set() else f"{in_words(left)} left"
        foot.add_row(bar, f"{int(100 * progress.certain):3}%", f"{finished} of {total} items", rest)
        return Group(*lines, foot)
