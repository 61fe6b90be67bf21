"""A Dask scheduler and workers as processes of this machine, with folders of their own and a store between them."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psutil
import toy_stages as toy
import wait
from toy_project import write_toy_recipe

from qairt.engine.cache.entry import read_entry
from qairt.engine.record import events as ev
from qairt.engine.run.options import RunOptions
from qairt.engine.stage import register_stage
from qairt.llm import LLMPipeline

SUPPORT = Path(__file__).parent


class Machines:
    """A scheduler and workers, each of which can be killed and started again."""

    def __init__(self, folder: Path, host: str = "127.0.0.1") -> None:
        self.folder, self.host = folder, host
        with socket.socket() as free:
            free.bind((host, 0))
            self.port = free.getsockname()[1]
        self.address = f"tcp://{host}:{self.port}"
        self.scheduler: subprocess.Popen[bytes] | None = None
        self.workers: dict[str, subprocess.Popen[bytes]] = {}

    def start_scheduler(self) -> None:
        options = ["--host", self.host, "--port", str(self.port), "--no-dashboard", "--no-show"]
        self.scheduler = self.start("scheduler", ["-m", "distributed.cli.dask_scheduler", *options])
        wait.until(lambda: _listens(self.host, self.port), 60)

    def start_worker(self, name: str, *, jobs: int = 1, memory: str = "2G", joined: bool = True, **env: str) -> None:
        options = ["--scheduler", self.address, "--folder", str(self.folder / name)]
        options += ["--jobs", str(jobs), "--memory", memory]
        self.workers[name] = self.start(name, ["-P", "-m", "qairt", "worker", *options], **env)
        if joined:
            wait.until(lambda: "works for" in self.said(name), 60)

    def said(self, name: str) -> str:
        return (self.folder / f"{name}.log").read_text()

    def kill(self, name: str) -> None:
        process = self.scheduler if name == "scheduler" else self.workers[name]
        assert process is not None
        process.kill()
        process.wait(20)

    def children(self, name: str) -> list[psutil.Process]:
        """The processes of a worker's items."""
        return psutil.Process(self.workers[name].pid).children(recursive=True)

    def close(self) -> None:
        processes = [*self.workers.values(), *([self.scheduler] if self.scheduler else [])]
        for process in processes:
            process.send_signal(signal.SIGCONT)
            process.terminate()
        for process in processes:
            try:
                process.wait(20)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait(20)

    def command(self, name: str) -> list[str]:
        """The Python of a machine."""
        return [sys.executable]

    def start(self, name: str, arguments: list[str], **env: str) -> subprocess.Popen[bytes]:
        """Start a program of Python on a machine; it prints to the log of that name."""
        environment = os.environ | {"PYTHONPATH": str(SUPPORT)} | env
        with (self.folder / f"{name}.log").open("wb") as log:
            return subprocess.Popen([*self.command(name), *arguments], env=environment, stdout=log, stderr=log)


@contextmanager
def machines(folder: Path, workers: int = 2) -> Iterator[Machines]:
    """A cluster with so many workers, `w0` and on."""
    folder.mkdir(parents=True, exist_ok=True)
    cluster = Machines(folder)
    try:
        cluster.start_scheduler()
        for number in range(workers):
            cluster.start_worker(f"w{number}", joined=False)
        for number in range(workers):
            wait.until(lambda name=f"w{number}": "works for" in cluster.said(name), 60)
        yield cluster
    finally:
        cluster.close()


def open_toy(folder: Path, **recipe: Any) -> LLMPipeline:
    """A pipeline of toy stages with its cache below `folder`."""
    for stage in (toy.Source, toy.Fan, toy.Upper, toy.Join):
        register_stage(stage)
    return LLMPipeline.from_recipe(write_toy_recipe(folder, **recipe))


def options_for(cluster: Any) -> RunOptions:
    return RunOptions(jobs=2, memory=10**9, executor="dask", scheduler=cluster.address)


class Watched:
    """The events of a run."""

    def __init__(self, pipeline: LLMPipeline) -> None:
        self.events: list[ev.Event] = []
        pipeline.add_listener(self.events.append)

    def of(self, kind: type[ev.Event]) -> list[Any]:
        return [event for event in self.events if isinstance(event, kind)]

    def said(self) -> str:
        return "\n".join(event.message for event in self.of(ev.LogLine))


def results(pipeline: LLMPipeline) -> dict[str, str]:
    """The digests of all that a run made, by item and file."""
    found = {}
    for record in sorted(pipeline.cache.cache_dir.glob("*/*/cache_entry.json")):
        entry = read_entry(record.parent)
        for name, file in entry.files.items():
            found[f"{entry.stage} {entry.label} {name}"] = file["sha256"]
    return found


class Run:
    """A run in a thread whose fan items wait for `go`."""

    def __init__(self, folder: Path, cluster: Any) -> None:
        """
        Args:
            cluster: whose scheduler has an `address`.
        """
        folder.mkdir()
        (held := folder / "held").touch()
        self.go = held.unlink
        self.pipeline = open_toy(folder, fan=f"hold_while: {held}")
        self.watched = Watched(self.pipeline)
        self.thread = threading.Thread(
            target=self.pipeline.construct, args=(options_for(cluster),), name="run", daemon=True
        )
        self.thread.start()

    def half_way(self, items: int) -> None:
        """Wait until so many fan items are at work."""
        wait.until(
            lambda: len([e for e in self.watched.of(ev.ItemProgress) if e.message == "half way"]) >= items,
            describe=self.watched.said,
        )

    def ends_with(self, expected: dict[str, str]) -> None:
        self.thread.join(90)
        assert not self.thread.is_alive(), self.watched.said()
        (finished,) = self.watched.of(ev.RunFinished)
        assert finished.status == "done"
        assert results(self.pipeline) == expected


def _listens(host: str, port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex((host, port)) == 0
