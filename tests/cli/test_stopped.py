"""A worker that somebody stopped is said in plain text and as JSON, with how it goes on."""

from __future__ import annotations

import json
import re
import signal
from pathlib import Path

import psutil
import pytest
from toy_cli import start
from wait import until


@pytest.mark.parametrize("words", [["--no-tui"], ["--json"]])
def test_a_stopped_worker_is_said_at_once(place: Path, words: list[str]):
    run = start("run", "toy.yaml", "--jobs", "1", "stages.fan.sleep=2", "stages.fan.arn=[1]", *words)
    assert run.stdout is not None
    try:
        until(lambda: list((place / "cache").rglob("fan.ar1.log")))
        until(lambda: len(workers := psutil.Process(run.pid).children(recursive=True)) >= 2 and workers)
        workers = psutil.Process(run.pid).children(recursive=True)
        for worker in workers:
            worker.send_signal(signal.SIGSTOP)
        pattern = r"process (\d+) was stopped by a signal; `kill -CONT \d+` lets it go on"
        for line in run.stdout:
            if words == ["--json"]:
                pid = json.loads(line).get("stopped_pid", 0)
            else:
                found = re.search(pattern, line)
                pid = int(found[1]) if found else 0
            if pid:
                break
        assert pid in [worker.pid for worker in workers]
        for worker in workers:
            worker.send_signal(signal.SIGCONT)
        rest, _ = run.communicate(timeout=60)
        assert run.returncode == 0
    finally:
        run.kill()
        run.communicate()
