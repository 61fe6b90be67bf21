"""Running one job: in this process (`inline`) or in a child of its own (`process`).

A compiler can abort or segfault; in a child that is one failed item with its signal and log tail, and nothing else.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from qairt.engine.run.jobs import PROGRESS, RESULT, Job, JobResult, run_job
from qairt.engine.run.usage import Usage, usage_of, usage_so_far
from qairt.errors import ItemFailed, QairtError
from qairt.files import log_tail

Progress = Callable[[float, str], None]
Used = Callable[[Usage], None]

_POLL = 0.05  # seconds between looks at a child's progress
_LOOK = 0.5  # seconds between looks at what it uses
_THREAD_VARIABLES = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS", "NUMEXPR_NUM_THREADS")


class Interrupted(Exception):  # noqa: N818 - it is not an error
    """The run was asked to stop while the item was running."""


class Stop:
    """Says that an item is to end: it alone, or the whole run."""

    def __init__(self, run: threading.Event) -> None:
        self._run = run
        self._own = threading.Event()

    def cancel(self) -> None:
        self._own.set()

    @property
    def cancelled(self) -> bool:
        """Whether it was this item that was meant."""
        return self._own.is_set()

    def is_set(self) -> bool:
        return self._own.is_set() or self._run.is_set()


@dataclass(frozen=True)
class Place:
    """Who is asking: for error messages and the log."""

    stage: str
    label: str
    log: Path


class Executor(Protocol):
    """Makes items. `used` is told what an item used, also of one that failed, before `run` returns or raises.

    Raises:
        ItemFailed: the job failed or its process died.
        Interrupted: `stop` was set.
    """

    def run(self, job: Job, place: Place, progress: Progress, stop: Stop, used: Used) -> None: ...


class InlineExecutor:
    """Items run in the engine's own process; for small models, tests and debugging.

    What they use is told as far as the process tells it: with several at once, each has what all of them used.
    """

    def run(self, job: Job, place: Place, progress: Progress, stop: Stop, used: Used) -> None:
        if stop.is_set():
            raise Interrupted
        place.log.parent.mkdir(parents=True, exist_ok=True)
        place.log.touch()
        before = usage_so_far()
        try:
            run_job(job, progress)
        except QairtError as error:
            with place.log.open("a") as log:
                log.write(f"{type(error).__name__}: {error}\n")
            raise ItemFailed(
                error.what, stage=place.stage, label=place.label, where=error.where, remedy=error.remedy
            ) from error
        except OSError as error:
            raise ItemFailed(
                str(error), stage=place.stage, label=place.label, remedy="free disk space or fix the permissions"
            ) from error
        finally:
            used(usage_so_far().since(before))


class ProcessExecutor:
    """Items run in children started with the standard library's `subprocess`: own environment, own log."""

    def run(self, job: Job, place: Place, progress: Progress, stop: Stop, used: Used) -> None:
        folder = Path(tempfile.mkdtemp(dir=job.directory.parent, prefix=".making-job-"))
        try:
            (folder / "job.json").write_text(job.model_dump_json())
            place.log.parent.mkdir(parents=True, exist_ok=True)
            with place.log.open("ab") as log:
                child = subprocess.Popen(
                    [sys.executable, "-m", "qairt.engine.run.worker", str(folder)],
                    stdin=subprocess.PIPE,
                    stdout=log,
                    stderr=subprocess.STDOUT,
                    env=_environment(job.threads),
                    start_new_session=True,
                )
            try:
                seen = self._watch(child, folder, progress, stop)
            finally:
                _end(child)
            self._take_result(child, folder, place, used, seen)
        finally:
            shutil.rmtree(folder, ignore_errors=True)

    def _watch(self, child: subprocess.Popen[bytes], folder: Path, progress: Progress, stop: Stop) -> Usage:
        """Until the child has ended; what it was seen to use, for one that cannot say so itself any more."""
        read, seen, looked = 0, Usage(), time.monotonic()
        while True:
            try:
                child.wait(timeout=_POLL)
                ended = True
            except subprocess.TimeoutExpired:
                ended = False
            read = _forward(folder / PROGRESS, read, progress)
            if ended:
                return seen
            if stop.is_set():
                raise Interrupted
            if time.monotonic() - looked >= _LOOK:
                seen, looked = usage_of(child.pid, seen), time.monotonic()

    def _take_result(self, child: subprocess.Popen[bytes], folder: Path, place: Place, used: Used, seen: Usage) -> None:
        try:
            result = JobResult.model_validate_json((folder / RESULT).read_bytes())
        except (FileNotFoundError, ValueError):
            used(seen)
            raise _died(child.returncode, place) from None
        used(result.usage)
        if result.error is None:
            return
        error = result.error
        raise ItemFailed(
            error["what"],
            stage=place.stage,
            label=place.label,
            where=error.get("where"),
            remedy=error.get("remedy"),
            log_tail=log_tail(place.log),
        )


def make_executor(name: str) -> Executor:
    return InlineExecutor() if name == "inline" else ProcessExecutor()


def _environment(threads: int) -> dict[str, str]:
    """The child's environment: its share of threads, and nothing buffered."""
    own = {variable: str(threads) for variable in _THREAD_VARIABLES}
    # Threads that spin at a barrier take the cores away from other items.
    return os.environ | own | {"OMP_WAIT_POLICY": "PASSIVE", "PYTHONUNBUFFERED": "1"}


def _forward(path: Path, start: int, progress: Progress) -> int:
    """Pass on progress lines written since byte `start`; returns where to go on."""
    try:
        with path.open("rb") as file:
            file.seek(start)
            data = file.read()
    except FileNotFoundError:
        return start
    whole = data.rfind(b"\n") + 1
    for line in data[:whole].splitlines()[-1:]:
        record = json.loads(line)
        progress(float(record["fraction"]), str(record["message"]))
    return start + whole


def _end(child: subprocess.Popen[bytes]) -> None:
    """Make sure the child and everything it started is gone."""
    for number in (signal.SIGTERM, signal.SIGKILL):
        if child.poll() is not None:
            break
        try:
            os.killpg(child.pid, number)
        except (ProcessLookupError, PermissionError):
            break
        deadline = time.monotonic() + 2
        while child.poll() is None and time.monotonic() < deadline:
            time.sleep(0.02)
    child.wait()
    if child.stdin is not None:
        child.stdin.close()


def _died(code: int, place: Place) -> ItemFailed:
    tail = log_tail(place.log)
    if code >= 0:
        return ItemFailed(
            f"its process ended with code {code} and no result",
            stage=place.stage,
            label=place.label,
            remedy=f"see {place.log}",
            log_tail=tail,
        )
    name = signal.Signals(-code).name
    remedy = {
        "SIGKILL": "most often the machine ran out of memory: run fewer items at once (--jobs 1), or raise num_splits",
        "SIGSEGV": "a fault in the compiler: run it again; if it repeats, raise num_splits",
        "SIGABRT": "the compiler gave up: its last lines in the log say why",
    }.get(name, "run it again")
    return ItemFailed(
        f"its process was ended by {name}",
        stage=place.stage,
        label=place.label,
        remedy=f"{remedy}; log: {place.log}",
        signal=-code,
        log_tail=tail,
    )
