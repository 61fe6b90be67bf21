"""A working directory with a toy recipe, terminals with the program in it, and the folders of its runs."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

import psutil
from terminal import Terminal
from toy_cli import command
from toy_project import write_toy_recipe
from wait import until

from qairt.engine.record import events as ev
from qairt.engine.record.folder import RunFolder, run_folders

TOYS = 7
"""Items of the toy recipe."""


@dataclass
class Place:
    """A working directory with a toy recipe, and the terminals that were opened in it."""

    folder: Path
    env: dict[str, str]
    terminals: list[Terminal] = field(default_factory=list)

    @property
    def recipe(self) -> Path:
        return self.folder / "toy.yaml"

    def open(
        self, *words: str, size: tuple[int, int] = (80, 24), program: list[str] | None = None, **env: str
    ) -> Terminal:
        """Type `qairt WORDS` on a new terminal."""
        typed = [*(program or command()), *words]
        terminal = Terminal(typed, size, self.env | env, self.folder)
        self.terminals.append(terminal)
        return terminal

    def write(self, *, sleep: float = 0.0, fan: str = "") -> Path:
        return write_toy_recipe(self.folder, sleep=sleep, fan=fan)

    def run(self, number: int = -1) -> RunFolder:
        """A run of the recipe; waits until there is one."""
        found: list[RunFolder] = []

        def exists() -> bool:
            nonlocal found
            found = run_folders(self.folder / "cache" / "pipeline_state")
            return bool(found) and found[number].events.exists()

        until(exists)
        return found[number]

    def end(self) -> None:
        for terminal in self.terminals:
            terminal.end()
        for run in run_folders(self.folder / "cache" / "pipeline_state"):
            host = run.host()
            if host is not None and run.liveness() == "running":
                with suppress(psutil.Error):
                    process = psutil.Process(host.pid)
                    for each in [*process.children(recursive=True), process]:
                        each.kill()


def statuses(run: RunFolder) -> list[str]:
    """The run's final status; empty while it is running."""
    return [event.status for event in ev.read_events(run.events) if isinstance(event, ev.RunFinished)]


def made(run: RunFolder) -> list[str]:
    """The finished items, as `stage label`."""
    return [
        f"{event.stage} {event.label}" for event in ev.read_events(run.events) if isinstance(event, ev.ItemFinished)
    ]


def assert_whole(run: RunFolder, items: int = TOYS) -> None:
    """Every item finished once, and all events are recorded in order."""
    events = list(ev.read_events(run.events))
    assert [event.seq for event in events] == list(range(1, len(events) + 1))
    assert len(made(run)) == len(set(made(run))) == items
    assert statuses(run) == ["done"]
