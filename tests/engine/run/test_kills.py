"""Whatever is killed, nothing that an item started keeps running."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest
from starting_stages import Starts, StartsConfig
from wait import until

from qairt.engine.pipeline import Pipeline
from qairt.engine.run.options import RunOptions

RUN = """
import sys
from pathlib import Path
from starting_stages import Starts, StartsConfig
from qairt.engine.pipeline import Pipeline
from qairt.engine.run.options import RunOptions
folder = Path(sys.argv[1])
result = Pipeline([Starts(StartsConfig(pids=folder / "pids"))], folder / "cache").construct(RunOptions())
print(*result.failed)
"""


class Family:
    """A run in a process of its own, and all processes of its item."""

    def __init__(self, folder: Path) -> None:
        command = [sys.executable, "-c", RUN, str(folder)]
        self.run = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, start_new_session=True)
        program = folder / "pids.program"
        until(lambda: program.exists() and len(program.read_text().split()) == 2)
        pids = [int((folder / "pids").read_text()), *map(int, program.read_text().split())]
        self.worker, self.program, self.inner = map(psutil.Process, pids)
        self.guard = self.worker.parent()
        self.members = [psutil.Process(self.run.pid), self.guard, self.worker, self.program, self.inner]

    def kill(self, victim: str) -> None:
        match victim:
            case "run":
                self.run.kill()
            case "group":
                os.killpg(self.run.pid, signal.SIGKILL)
            case "interrupt":
                self.run.send_signal(signal.SIGINT)
            case "all":
                for process in self.members[:-1]:
                    process.suspend()  # none may clean up after another
                for process in self.members[:-1]:
                    process.kill()
            case "stopped worker, then run":
                self.worker.suspend()
                self.run.kill()
            case _:
                getattr(self, victim).kill()

    def left(self) -> list[psutil.Process]:
        return [each for each in self.members if each.is_running() and each.status() != psutil.STATUS_ZOMBIE]


@pytest.fixture
def family(tmp_path: Path) -> Iterator[Family]:
    started = Family(tmp_path)
    yield started
    started.run.kill()
    for process in started.left():
        process.kill()
    started.run.communicate()


@pytest.mark.parametrize("victim", ["run", "group", "interrupt", "guard", "worker", "stopped worker, then run"])
def test_nothing_is_left_of_a_killed_run(family: Family, victim: str):
    family.kill(victim)
    if victim in ("guard", "worker"):  # it is tried once more: that attempt goes with the run
        family.members.remove(family.members[0])
        until(lambda: not family.left() or family.left() == [family.inner], describe=family.left)
    else:
        until(lambda: not family.left(), describe=family.left)


def test_the_compiler_ends_with_its_worker_also_where_nothing_can_clean_up(family: Family):
    family.kill("all")
    until(lambda: not [process for process in family.left() if process != family.inner], describe=family.left)


@pytest.mark.parametrize("through_run", [True, False], ids=["of its compiler", "that it left behind itself"])
def test_a_finished_item_leaves_no_process(tmp_path: Path, through_run: bool):
    config = StartsConfig(pids=tmp_path / "pids", seconds=0.0 if through_run else 600.0, through_run=through_run)
    result = Pipeline([Starts(config)], tmp_path / "cache").construct(RunOptions())
    assert result.status == "done"
    started = [int(pid) for pid in (tmp_path / "pids.program").read_text().split()]
    assert not [pid for pid in started if psutil.pid_exists(pid)]
