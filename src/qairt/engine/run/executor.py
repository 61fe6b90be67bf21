"""Running one job: in this process (`inline`) or in a child process (`process`).

A compiler can abort or segfault; in a child process that is one failed item with its signal and the end of its log.
"""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, Protocol

from qairt.child_process import python_command, python_environment
from qairt.engine.plan.disk import DiskLimit
from qairt.engine.plan.planned import PlannedItem
from qairt.engine.record.tool_lines import last_lines
from qairt.engine.run.capacity import Capacity, MachineCapacity
from qairt.engine.run.fork_server import Forked, ForkServer, Unable
from qairt.engine.run.jobs import PROGRESS, RESULT, Job, JobError, JobResult, run_job, why_disk_is_full
from qairt.engine.run.options import RunOptions
from qairt.engine.run.stop import Interrupted, Stop
from qairt.engine.run.usage import Usage, usage_of, usage_so_far
from qairt.engine.stage import Progress
from qairt.errors import ItemFailed, QairtError
from qairt.files import open_regular, parse_json, read_regular
from qairt.machine import available_cores

ReportUsage = Callable[[Usage], None]
Stays = Callable[[PlannedItem], bool]
"""Whether an item is made on this machine, whatever others there are."""

_PROGRESS_POLL = 0.05  # seconds
_USAGE_POLL = 0.5  # seconds
_END_S = 2.0  # for a guard to end what it guards
Child = subprocess.Popen[bytes] | Forked
_THREAD_VARIABLES = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS", "NUMEXPR_NUM_THREADS")


@dataclass(frozen=True)
class ItemLog:
    """An item, and the file of its log."""

    stage: str
    label: str
    log: Path
    worker: str = ""
    """See `Place.worker`."""


class Executor(Protocol):
    """Makes items."""

    def open(self) -> None:
        """Items are about to come.

        Raises:
            QairtError: none can be made.
        """

    def capacity(self, options: RunOptions, disk: DiskLimit | None, stays: Stays) -> Capacity:
        """What runs beside what, and where."""

    def run(self, job: Job, item: ItemLog, progress: Progress, stop: Stop, report_usage: ReportUsage) -> None:
        """Make one item. `report_usage` may be called while it runs, and is called before it returns or raises, also
        for an item that failed.

        Raises:
            ItemFailed: the job failed or its process died.
            Interrupted: `stop` was set.
        """

    def close(self) -> None:
        """No more items come."""


class _OnThisMachine:
    def open(self) -> None:
        pass

    def capacity(self, options: RunOptions, disk: DiskLimit | None, stays: Stays) -> Capacity:
        return MachineCapacity(options.jobs, options.ram, available_cores(), disk)


class InlineExecutor(_OnThisMachine):
    """Items run in the engine's own process; for small models, tests and debugging.

    Usage is that of the process: if several items run at a time, each gets the sum.
    """

    def run(self, job: Job, item: ItemLog, progress: Progress, stop: Stop, report_usage: ReportUsage) -> None:
        if stop.is_set():
            raise Interrupted
        item.log.parent.mkdir(parents=True, exist_ok=True)
        item.log.touch()
        before = usage_so_far()
        try:
            run_job(job, progress)
        except QairtError as error:
            with item.log.open("a", encoding="utf-8") as log:
                log.write(f"{type(error).__name__}: {error}\n")
            raise ItemFailed.from_error(error, stage=item.stage, label=item.label) from error
        except OSError as error:
            known = JobError.of(error, job.directory).as_error()
            raise ItemFailed.from_error(known, stage=item.stage, label=item.label) from error
        finally:
            report_usage(usage_so_far().since(before))

    def close(self) -> None:
        pass


class ProcessExecutor(_OnThisMachine):
    """Items run in child processes with their own environment and log.

    Args:
        forks: children are forked from a process that has imported what they need, where the system can.
    """

    def __init__(self, *, forks: bool = False) -> None:
        self._forks = forks and sys.platform == "linux"
        self._servers: dict[int, ForkServer] = {}
        """By the number of threads, which libraries read when they are imported."""
        self._lock = threading.Lock()

    def run(self, job: Job, item: ItemLog, progress: Progress, stop: Stop, report_usage: ReportUsage) -> None:
        folder = Path(tempfile.mkdtemp(dir=job.directory.parent, prefix=".making-job-"))
        try:
            (folder / "job.json").write_text(job.model_dump_json(), encoding="utf-8")
            item.log.parent.mkdir(parents=True, exist_ok=True)
            with item.log.open("ab") as log:
                child = self._start(job, folder, log)
            try:
                seen = self._watch(child, folder, progress, stop, report_usage)
            finally:
                _end(child)
            self._take_result(child, job, folder, item, report_usage, seen)
        finally:
            shutil.rmtree(folder, ignore_errors=True)

    def close(self) -> None:
        with self._lock:
            while self._servers:
                self._servers.popitem()[1].close()

    def _start(self, job: Job, folder: Path, log: BinaryIO) -> Child:
        if self._forks:
            server = self._server(job.threads)
            modules = [] if job.module_folder else [job.stage.partition(":")[0], *job.imports]
            try:
                return server.start(folder, modules, log)
            except Unable:
                with self._lock:
                    if self._servers.get(job.threads) is server:
                        self._servers.pop(job.threads).close()
        return subprocess.Popen(
            python_command("-m", "qairt.engine.run.worker", str(folder)),
            stdin=subprocess.PIPE,
            stdout=log,
            stderr=subprocess.STDOUT,
            env=_environment(job.threads),
            start_new_session=True,
        )

    def _server(self, threads: int) -> ForkServer:
        with self._lock:
            if threads not in self._servers:
                self._servers[threads] = ForkServer(_environment(threads))
            return self._servers[threads]

    def _watch(self, child: Child, folder: Path, progress: Progress, stop: Stop, report_usage: ReportUsage) -> Usage:
        """Wait until the child has ended; returns its usage as seen from outside, in case it cannot report it."""
        read, seen, seen_at = 0, Usage(), time.monotonic()
        while True:
            try:
                child.wait(timeout=_PROGRESS_POLL)
                ended = True
            except subprocess.TimeoutExpired:
                ended = False
            read = _forward(folder / PROGRESS, read, progress)
            if ended:
                return seen
            if stop.is_set():
                raise Interrupted
            if time.monotonic() - seen_at >= _USAGE_POLL:
                seen, seen_at = usage_of(child.pid, seen), time.monotonic()
                report_usage(seen)

    def _take_result(
        self,
        child: Child,
        job: Job,
        folder: Path,
        item: ItemLog,
        report_usage: ReportUsage,
        seen: Usage,
    ) -> None:
        try:
            result = JobResult.model_validate_json(read_regular(folder / RESULT))
        except (FileNotFoundError, ValueError):
            report_usage(seen)
            full = why_disk_is_full(job.directory)
            if full is not None:
                tail = last_lines(item.log)
                raise ItemFailed.from_error(full, stage=item.stage, label=item.label, log_tail=tail) from None
            raise _died(child.returncode, item) from None
        report_usage(result.usage)
        if result.error is not None:
            error = result.error.as_error()
            raise ItemFailed.from_error(error, stage=item.stage, label=item.label, log_tail=last_lines(item.log))


def _environment(threads: int) -> dict[str, str]:
    """The child's environment: its share of threads, and unbuffered output."""
    own = {variable: str(threads) for variable in _THREAD_VARIABLES}
    # Threads that spin at a barrier take cores away from other items.
    return python_environment() | own | {"OMP_WAIT_POLICY": "PASSIVE", "PYTHONUNBUFFERED": "1"}


def _forward(path: Path, start: int, progress: Progress) -> int:
    """Pass on the last progress line after byte `start`; returns where to continue."""
    try:
        with open_regular(path) as file:
            file.seek(start)
            data = file.read()
    except FileNotFoundError:
        return start
    whole = data.rfind(b"\n") + 1
    for line in data[:whole].splitlines()[-1:]:
        record = parse_json(line)
        progress(float(record["fraction"]), str(record["message"]))
    return start + whole


def _end(child: Child) -> None:
    """End the child and everything it started: closing its input asks its guard to, the signal ends what is left."""
    assert child.stdin is not None
    child.stdin.close()
    with suppress(subprocess.TimeoutExpired):
        child.wait(_END_S)
    with suppress(ProcessLookupError, PermissionError, AttributeError):  # the group may outlive a guard that was killed
        os.killpg(child.pid, signal.SIGKILL)
    child.wait()
    if isinstance(child, Forked):
        child.reap()


def _died(code: int | None, item: ItemLog) -> ItemFailed:
    tail = last_lines(item.log)
    assert code is not None  # it was waited for
    if code >= 0:
        return ItemFailed(
            f"its process ended with code {code} and no result",
            stage=item.stage,
            label=item.label,
            remedy=f"see {item.log}",
            log_tail=tail,
        )
    name = signal.Signals(-code).name
    remedy = {
        "SIGKILL": "the machine probably ran out of memory: run fewer items at once (--jobs 1), or raise num_splits",
        "SIGSEGV": "a bug in the compiler: run again; if it repeats, raise num_splits",
        "SIGABRT": "the compiler aborted: the end of its log says why",
    }.get(name, "run it again")
    failed = ItemFailed(
        f"its process was ended by {name}",
        stage=item.stage,
        label=item.label,
        remedy=f"{remedy}; log: {item.log}",
        signal=-code,
        log_tail=tail,
    )
    failed.out_of_memory = name == "SIGKILL"  # nothing of ours sends it to a worker whose result is awaited
    return failed
