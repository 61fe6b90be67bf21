"""The folder of one run, `pipeline_state/runs/<id>/`, and whether that run is in progress.

host.json      the process that runs it: pid, machine, version
lock           held by that process while it lives: a kernel lock, so it is free the moment the process is gone
recipe.yaml    the recipe with its overrides          resolved.json   every setting, with defaults
plan.json      the plan                               events.jsonl    all events
logs/          one file for each item                 control/        requests to the run
summary.json   how it ended
"""

from __future__ import annotations

import json
import os
import socket
import sys
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from functools import cache
from pathlib import Path
from typing import Literal

from qairt.errors import CacheError
from qairt.files import make_folder, open_regular, read_json, write_atomic

Liveness = Literal["running", "interrupted", "over", "unknown"]
Action = Literal["cancel_run", "cancel_item", "pause", "resume", "retry"]

HEARTBEAT = 15.0
"""Seconds without an event after which a run on another machine counts as lost; memory is sampled every second."""


@dataclass(frozen=True)
class Host:
    """The process of a run."""

    pid: int
    pid_started: float
    """When that process started, because a pid may be reused."""
    host: str
    boot_id: str
    version: str
    started: float
    recipe: str
    overrides: tuple[str, ...]
    detached: bool
    """It has no terminal: it runs in the background, or its terminal is gone."""


@dataclass(frozen=True)
class Request:
    """A request to a run in progress."""

    id: str
    action: Action
    stage: str = ""
    label: str = ""


class RunFolder:
    """One run's folder."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.id = path.name
        self.events = path / "events.jsonl"
        self.logs = path / "logs"
        self._control = path / "control"

    def host(self) -> Host | None:
        """The process that runs it; None if that cannot be read."""
        try:
            record = read_json(self.path / "host.json")
            return Host(**record | {"overrides": tuple(record["overrides"])})
        except (OSError, ValueError, KeyError, TypeError):
            return None

    def liveness(self) -> Liveness:
        """Whether it is in progress: by its lock if it is on this machine, else by its heartbeat."""
        if self._has_ended():
            return "over"
        host = self.host()
        if host is not None and host.host != socket.gethostname():
            return "running" if self.seconds_silent() < HEARTBEAT else "unknown"
        return "running" if _is_held(self.path / "lock") else "interrupted"

    def seconds_silent(self) -> float:
        """Seconds since the last event."""
        try:
            return time.time() - self.events.stat().st_mtime
        except OSError:
            return float("inf")

    @contextmanager
    def held(self, recipe: str, overrides: tuple[str, ...], *, detached: bool) -> Iterator[None]:
        """Register this process as the one that runs it, while inside."""
        from importlib.metadata import version

        import psutil

        own = psutil.Process()
        lock = _lock(self.path / "lock")
        host = Host(
            pid=own.pid,
            pid_started=own.create_time(),
            host=socket.gethostname(),
            boot_id=boot_id(),
            version=version("qairt"),
            started=time.time(),
            recipe=recipe,
            overrides=overrides,
            detached=detached,
        )
        write_atomic(self.path / "host.json", json.dumps(asdict(host), indent=1) + "\n")
        try:
            yield
        finally:
            os.close(lock)

    def request(self, action: Action, stage: str = "", label: str = "") -> str:
        """Leave a request for the process that runs it; returns the request's id, which the answer repeats.

        Raises:
            CacheError: the folder cannot be written.
        """
        request = Request(uuid.uuid4().hex[:12], action, stage, label)
        try:
            write_atomic(self._control / f"{request.id}.json", json.dumps(asdict(request)))
        except OSError as error:
            raise CacheError(
                f"the request cannot be sent: {error.strerror or error}",
                where=str(self._control),
                remedy="this needs write access to its cache directory",
            ) from error
        return request.id

    def take_requests(self) -> list[Request]:
        """The requests left since the last call; they are removed."""
        found = []
        try:
            paths = sorted(self._control.glob("*.json"), key=lambda path: path.stat().st_mtime_ns)
        except OSError:
            return []
        for path in paths:
            with suppress(OSError, ValueError, TypeError):
                found.append(Request(**read_json(path)))
            path.unlink(missing_ok=True)
        return found

    def write(self, name: str, document: object) -> None:
        """Write a JSON document into the folder."""
        write_atomic(self.path / name, json.dumps(document, indent=1, default=str) + "\n")

    def _has_ended(self) -> bool:
        """Whether its last event is `run_finished`."""
        try:
            with open_regular(self.events) as file:
                file.seek(max(file.seek(0, os.SEEK_END) - 4096, 0))
                lines = file.read().splitlines()
        except OSError:
            return False
        return bool(lines) and b'"type":"run_finished"' in lines[-1]


def new_run_folder(state_folder: Path) -> RunFolder:
    """A new folder with the next free number, also if two runs start at the same time."""
    runs = state_folder / "runs"
    make_folder(runs)
    number = max((int(folder.id) for folder in run_folders(state_folder) if folder.id.isdigit()), default=0)
    while True:
        number += 1
        path = runs / f"{number:04d}"
        try:
            path.mkdir()
        except FileExistsError:
            continue
        (path / "logs").mkdir()
        return RunFolder(path)


def run_folders(state_folder: Path) -> list[RunFolder]:
    """All runs of a cache directory, the oldest first."""
    try:
        paths = [path for path in (state_folder / "runs").iterdir() if path.is_dir()]
    except OSError:
        return []
    return [RunFolder(path) for path in sorted(paths, key=lambda path: (len(path.name), path.name))]


def live_runs(state_folder: Path) -> list[RunFolder]:
    """The runs in progress, the oldest first."""
    return [folder for folder in run_folders(state_folder) if folder.liveness() == "running"]


@cache
def boot_id() -> str:
    """An id of this boot of the machine; empty if the system has none."""
    try:
        return Path("/proc/sys/kernel/random/boot_id").read_text(encoding="utf-8").strip()
    except OSError:
        return ""


def _lock(path: Path) -> int:
    handle = os.open(path, os.O_RDWR | os.O_CREAT, 0o644)
    if sys.platform != "win32":
        import fcntl

        fcntl.flock(handle, fcntl.LOCK_EX)
    return handle


def _is_held(path: Path) -> bool:
    if sys.platform == "win32":
        return False
    import fcntl

    try:
        handle = os.open(path, os.O_RDONLY)
    except OSError:
        return False
    try:
        fcntl.flock(handle, fcntl.LOCK_SH | fcntl.LOCK_NB)  # shared: two processes that check do not see each other
    except OSError:
        return True
    finally:
        os.close(handle)
    return False
