"""Signs of life of running items."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest
from wait import until

from qairt.engine.record import events as ev
from qairt.engine.record.sentences import format_event
from qairt.profiling.process_tree import Process, ProcessTree
from qairt.profiling.stall_detector import StallDetector


class Watched:
    """One item of a run, a clock that goes in seconds, and a process that works when told to."""

    def __init__(self, folder, **options) -> None:
        self.log = folder / "convert.ar1.log"
        self.log.write_text("")
        self.detector = StallDetector(**options)
        self.now, self.cpu, self.is_stopped = 100.0, 0.0, False
        self.reported: list[tuple[float, float]] = []
        self.detector.check(self.now, self.processes())
        self.start()

    def start(self) -> None:
        fields = {"key": "k", "reason": "", "log": str(self.log), "threads": 1}
        self.detector.on_event(ev.ItemStarted(stage="convert", label="ar1", **fields))

    def processes(self) -> dict[int, Process]:
        return {1: Process(1, 0, 0.0, self.cpu, 0, self.is_stopped)}

    def wait(self, seconds: int, step: float = 1.0) -> list[tuple[float, float]]:
        """What was reported meanwhile: after how many seconds, and of how many."""
        reported = []
        for second in range(1, seconds + 1):
            self.now += step
            for event in self.detector.check(self.now, self.processes()):
                assert (event.stage, event.label) == ("convert", "ar1")
                reported.append((second, event.seconds))
        return reported


@pytest.fixture
def item(tmp_path):
    return Watched(tmp_path)


def test_it_is_stalled_after_thirty_seconds_and_reported_again_whenever_that_doubles(item):
    assert item.wait(1) == []  # it was just started
    assert item.wait(250) == [(30, 30.0), (60, 60.0), (120, 120.0), (240, 240.0)]


def test_one_whose_process_was_stopped_is_reported_at_once_with_the_process(item):
    item.wait(3)
    item.is_stopped = True
    (event,) = item.detector.check(item.now + 1.0, item.processes())
    assert (event.stopped_pid, event.seconds > 0) == (1, True)
    assert format_event(event) == ["convert ar1: process 1 was stopped by a signal; `kill -CONT 1` lets it go on"]
    item.now += 1.0
    assert item.wait(10) == []
    item.is_stopped, item.cpu = False, 5.0
    assert item.wait(1) == [(1, 0.0)]


@pytest.mark.parametrize("sign", ["log", "progress", "cpu"])
def test_every_sign_of_life_counts(item, sign):
    item.wait(1)
    assert item.wait(40) == [(30, 30.0)]
    if sign == "log":
        item.log.write_text("a line\n")
    elif sign == "progress":
        item.detector.on_event(ev.ItemProgress(stage="convert", label="ar1", fraction=0.5))
    else:
        item.cpu += 0.5
    assert item.wait(1) == [(1, 0.0)]
    assert item.wait(29) == []


def test_a_process_that_hardly_works_only_waits(item):
    item.wait(1)
    reported = []
    for _ in range(31):
        item.cpu += 0.01
        reported += item.wait(1)
    assert [seconds for _, seconds in reported] == [30.0]


def test_an_item_that_logs_rarely_is_given_longer(item):
    item.wait(1)
    for number in range(10):  # a line each 20 seconds
        assert item.wait(19) == []
        item.log.write_text("x" * (number + 1))
        item.wait(1)
    assert item.wait(120) == [(100, 100.0)]


def test_after_it_ended_nothing_is_reported(item):
    item.wait(1)
    item.detector.on_event(ev.ItemSkipped(stage="convert", label="ar1", because="cancelled"))
    assert item.wait(100) == []
    item.start()  # it is tried again
    assert item.wait(32) == [(31, 30.0)]


def test_the_end_of_a_run_ends_it(item):
    item.detector.on_event(ev.RunFinished(status="failed", seconds=1, executed=0, cached=0, failed=1))
    assert item.wait(100) == []


def test_time_that_the_machine_was_suspended_does_not_count(item):
    item.wait(1)
    assert item.wait(1, step=3600.0) == []
    assert item.wait(25) == [(20, 30.0)]


def test_a_log_that_is_gone_is_silent(item):
    item.log.unlink()
    assert item.wait(40) == [(31, 30.0)]


SLEEPER = "import sys; print('begun', flush=True); sys.stdin.read()"
WORKER = "import subprocess, sys; subprocess.run([sys.executable, '-c', sys.argv[1]], stdout=subprocess.DEVNULL)"
BUSY = "import sys\nwhile True: pass"


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere, workers cannot be reported apart")
def test_what_another_item_does_is_no_sign_of_life(tmp_path):
    """Two workers, one asleep, one whose child computes; the sleeping one is stalled."""
    detector, tree = StallDetector(least=3.0), ProcessTree()
    workers = []
    for name, words in (("asleep", [SLEEPER]), ("busy", [WORKER, BUSY])):
        log = tmp_path / name
        with log.open("wb") as file:
            child = [sys.executable, "-c", *words]
            workers.append(subprocess.Popen(child, stdin=subprocess.PIPE, stdout=file, start_new_session=True))
        detector.on_event(ev.ItemStarted(stage="s", label=name, key="k", reason="", log=str(log), threads=1))
    try:
        until(lambda: (tmp_path / "asleep").stat().st_size and any(p.cpu_seconds > 0.3 for p in others(tree)))
        reported = []
        for second in range(8):
            processes = tree.sample()
            before = sum(process.cpu_seconds for process in processes.values())
            reported += detector.check(second * 0.5, processes)
            until(lambda before=before: sum(p.cpu_seconds for p in tree.sample().values()) > before + 0.05)
        assert [(event.label, event.seconds) for event in reported] == [("asleep", 3.0)]
    finally:
        for worker in workers:
            os.killpg(worker.pid, 9)
            worker.wait()


def others(tree: ProcessTree) -> list[Process]:
    return [process for process in tree.sample().values() if process.pid != os.getpid()]
