"""Workers that dask-jobqueue asks SLURM for; a stand-in starts the jobs on this machine."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

import pytest
import slurm_stand_in
import wait
from dask_cluster import Run, Watched, open_toy, options_for, results

from qairt.engine.record import events as ev

# Importing it would replace this process's handlers of signals.
pytestmark = pytest.mark.skipif(find_spec("dask_jobqueue") is None, reason="needs dask-jobqueue")
SUPPORT = Path(slurm_stand_in.__file__).parent


@dataclass
class Slurm:
    folder: Path
    address: str

    def pid(self, job: int) -> int:
        """Of the job's script, which leads a process group."""
        return int((self.folder / "jobs" / str(job) / "pid").read_text())

    def logs(self) -> str:
        return "\n".join(path.read_text() for path in self.folder.glob("jobs/*/log"))


@pytest.fixture
def slurm(tmp_path: Path, store: Path) -> Iterator[Slurm]:
    """Two jobs of one worker each."""
    folder = tmp_path / "slurm"
    environment = os.environ | slurm_stand_in.install(folder) | {"PYTHONPATH": str(SUPPORT)}
    command = [sys.executable, str(SUPPORT / "slurm_stand_in.py"), "2", str(folder)]
    with (folder / "log").open("wb") as log:
        child = subprocess.Popen(
            command, env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=log, text=True
        )
    assert child.stdout is not None
    try:
        address = child.stdout.readline().strip()
        assert address.startswith("tcp://"), (folder / "log").read_text()
        yield Slurm(folder, address)
    finally:
        child.communicate("", timeout=60)


def test_its_workers_build_items(slurm: Slurm, tmp_path: Path, expected: dict[str, str]) -> None:
    wait.until(lambda: slurm.logs().count("Registered to") == 2, 90, describe=slurm.logs)
    (tmp_path / "run").mkdir()
    pipeline = open_toy(tmp_path / "run")
    watched = Watched(pipeline)
    assert pipeline.construct(options_for(slurm)).result.status == "done", watched.said()
    assert results(pipeline) == expected
    assert all(event.host for event in watched.of(ev.ItemStarted) if event.stage == "fan")


def test_a_job_that_slurm_ends_costs_its_items_a_second_start(
    slurm: Slurm, tmp_path: Path, expected: dict[str, str]
) -> None:
    wait.until(lambda: slurm.logs().count("Registered to") == 2, 90, describe=slurm.logs)
    run = Run(tmp_path / "run", slurm)
    run.half_way(2)
    os.killpg(slurm.pid(0), signal.SIGKILL)
    wait.until(lambda: "is gone" in run.watched.said(), describe=run.watched.said)
    run.go()
    run.ends_with(expected)
