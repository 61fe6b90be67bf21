"""The events of a run as lines, or the log of one of its items; both can be followed."""

from __future__ import annotations

import re
import time
from collections.abc import Iterable, Iterator
from pathlib import Path

from qairt.cli.watch.watcher import clock
from qairt.engine.record.events import AnyEvent, EventTail, RunFinished, RunStarted
from qairt.engine.record.folder import RunFolder, run_folders
from qairt.engine.record.item_state import MADE, UNMADE, ItemState
from qairt.engine.record.sentences import format_event, nothing_written
from qairt.engine.record.state import RunState
from qairt.engine.record.tool_lines import folded
from qairt.errors import RecipeError
from qairt.files import open_regular

_POLL = 0.25  # seconds between reads of a followed file
_LIVENESS = 1.0  # seconds without events before the process is checked
_CONTROL = re.compile(r"\x1b\[[0-?]*[ -/]*[@-~]|\x1b\][^\x07\x1b]*(?:\x07|\x1b\\)|[\x00-\x08\x0b-\x1f\x7f-\x9f]")


class RunLog:
    """Lines in batches: first all that exist, then, if followed, the new ones.

    Args:
        follow: continue until the run ends.
    """

    def __init__(self, folder: RunFolder, *, follow: bool) -> None:
        self.tail = EventTail(folder.events)
        self._folder = folder
        self._follow = follow

    def of_run(self, stage: str | None = None) -> Iterator[list[str]]:
        """The lines of the whole run or of one stage; some events have none.

        Raises:
            RecipeError: the run has no such stage; names its stages.
        """
        stages: set[str] = set()
        for events, gone in self._watched():
            stages |= {entry.stage for event in events if isinstance(event, RunStarted) for entry in event.items}
            if stage is not None and stages and stage not in stages:
                raise self._no_such(f"stage {stage}", sorted(stages))
            batch = [
                f"{clock(event.time)} {plain(line)}"
                for event in events
                if stage is None or getattr(event, "stage", None) == stage
                for line in format_event(event)
            ]
            yield [*batch, "the run's process has ended; its running items were interrupted"] if gone else batch

    def of_item(self, stage: str, label: str) -> Iterator[list[str]]:
        """The output of an item's tools, until the item ends.

        Raises:
            RecipeError: the run has no such item, or it has no log; names the existing ones.
        """
        state = RunState()
        log = _GrowingText(self._folder.logs / f"{stage}.{label}.log")
        for events, _ in self._watched():
            for event in events:
                state.apply(event)
            item = state.items.get((stage, label))
            if item is None and state.items:
                raise self._no_item(state, stage, label)
            if not self._follow and not log.path.is_file():
                remedy = self._instead(item) if item else "the run has not planned its items yet"
                raise RecipeError(f"run {self._folder.id} has no log of {stage} {label}", remedy=remedy)
            ended = item is not None and item.status in MADE | UNMADE
            lines = log.read(to_the_end=ended or not self._follow)
            yield lines
            if ended or not self._follow:
                if item is not None and log.is_empty:
                    yield [nothing_written(item, log.path)]
                return
        yield log.read(to_the_end=True)

    def _watched(self) -> Iterator[tuple[list[AnyEvent], bool]]:
        """New events, and whether the process ended without a final event. Ends with the run."""
        last_event = time.monotonic()
        while True:
            late = not self._follow or time.monotonic() - last_event >= _LIVENESS
            gone = late and self._folder.liveness() == "interrupted"
            events = self.tail.read()
            if events:
                last_event = time.monotonic()
            over = any(isinstance(event, RunFinished) for event in events)
            yield events, gone and not over
            if over or gone or not self._follow:
                return
            time.sleep(_POLL)

    def _instead(self, item: ItemState) -> str:
        """Why this run has no log of an item, and which one has."""
        name = f"{item.stage}.{item.label}.log"
        others = [run for run in run_folders(self._folder.path.parents[1]) if (run.logs / name).is_file()]
        if item.status == "cached" and others:
            run = others[-1].id
            return f"cached: its log is that of run {run}: `qairt logs {run} {item.stage} {item.label}`"
        return nothing_written(item)

    def _no_item(self, state: RunState, stage: str, label: str) -> RecipeError:
        labels = [other for name, other in state.items if name == stage]
        if not labels:
            return self._no_such(f"stage {stage}", state.stages())
        return self._no_such(f"item {stage} {label}", labels)

    def _no_such(self, what: str, there: Iterable[str]) -> RecipeError:
        return RecipeError(f"run {self._folder.id} has no {what}", remedy=f"it has {plain(', '.join(there))}")


def plain(text: str) -> str:
    """`text` without colours and other control characters."""
    return _CONTROL.sub("", text)


class _GrowingText:
    """The lines of a file that grows."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._offset = 0
        self._rest = ""

    @property
    def is_empty(self) -> bool:
        """Whether nothing was read so far."""
        return self._offset == 0

    def read(self, *, to_the_end: bool) -> list[str]:
        """Lines since the last call; an unterminated last line only if nothing follows."""
        try:
            with open_regular(self.path) as file:
                file.seek(self._offset)
                data = file.read()
        except OSError:
            data = b""
        self._offset += len(data)
        text = self._rest + data.decode(errors="replace").replace("\r\n", "\n").replace("\r", "\n")
        *lines, self._rest = text.split("\n")
        if to_the_end and self._rest:
            lines.append(self._rest)
            self._rest = ""
        return list(folded(plain(line) for line in lines))
