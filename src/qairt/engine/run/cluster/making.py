"""Making an item on a worker, in a folder of the worker's own.

FOLDER/blobs            contents that were fetched or made, each once
FOLDER/jobs/…           one for each item that is being made; gone with it
FOLDER/resume/{name}    checkpoints of long items
FOLDER/shared/{stage}   what items of a stage found out, for others
"""

from __future__ import annotations

import shutil
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from functools import cache
from pathlib import Path

from qairt.engine.cache.blobs import Blobs
from qairt.engine.cache.entry import StoredFile
from qairt.engine.digests import FileDigests
from qairt.engine.run.cluster.packed import PackedJob, WorkerAnswer, unpack
from qairt.engine.run.cluster.transfer import Damaged, Transfer
from qairt.engine.run.executor import ItemLog, ProcessExecutor
from qairt.engine.run.jobs import JobError
from qairt.engine.run.stop import Interrupted, Stop
from qairt.engine.run.usage import Usage
from qairt.engine.shared_store.objects import Unavailable
from qairt.engine.shared_store.settings import StoreSettings
from qairt.errors import ItemFailed, QairtError
from qairt.files import files_below, make_folder, open_regular
from qairt.folders import temporary_folder
from qairt.machine import free_space

_MOST_LOG = 1 << 20
"""Bytes of an item's log that travel, from its end."""
_TELL_EVERY = 0.5  # seconds
_USAGE_EVERY = 2.0  # seconds
_PIECE = 1 << 16
"""Bytes of a log that are told at a time."""
_KEPT = 0.5
"""Of the free space and what is kept together, the part that fetched contents may take."""

Tell = Callable[[dict[str, object]], None]


class Workshop:
    """A worker's folder and the processes of its items; one for each folder and process."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        make_folder(folder / "jobs")
        self._blobs = Blobs(folder / "blobs", FileDigests(folder / "digests.jsonl"))
        self._executor = ProcessExecutor(forks=True)
        self._transfer: dict[StoreSettings, Transfer] = {}
        self._lock = threading.Lock()

    def make(self, packed: PackedJob, tell: Tell, stop: Stop) -> WorkerAnswer:
        """Make one item and put its files into the store.

        Args:
            tell: gets progress and the log's text while it is made.

        Raises:
            Interrupted: `stop` was set.
        """
        transfer = self._transfer_of(packed.store)

        def check() -> None:
            if stop.is_set():
                raise Interrupted

        with temporary_folder(self._folder / "jobs", packed.name.lstrip(".")) as folder:
            log = folder / "log"
            log.touch()
            answer = WorkerAnswer()
            try:
                transfer.bring(packed.files, folder, check)
                self._run(packed, folder, log, answer, tell, stop)
                answer.files, paths = self._made(folder / "made")
                transfer.ask_again(file["sha256"] for file in answer.files.values())
                transfer.suspect(packed.suspect)
                transfer.send({answer.files[name]["sha256"]: path for name, path in paths.items()}, check)
            except Damaged as error:
                answer.damaged = error.digests
            except Unavailable as error:
                answer.unavailable = str(error)
            except ItemFailed as failure:
                answer.error, answer.signal = JobError.of(failure, folder), failure.signal
            except (OSError, QairtError) as error:
                answer.error = JobError.of(error, folder)
            answer.log = _end_of(log)
        self._drop_contents()
        return answer

    def _run(self, packed: PackedJob, folder: Path, log: Path, answer: WorkerAnswer, tell: Tell, stop: Stop) -> None:
        resume = self._folder / "resume" / packed.name
        job = unpack(packed, folder, resume=resume, shared=self._folder / "shared" / packed.stage)
        job.directory.mkdir()
        over = threading.Event()
        follower = threading.Thread(target=_follow, args=(log, tell, over), name="log", daemon=True)
        follower.start()

        def progress(fraction: float, message: str) -> None:
            tell({"fraction": fraction, "message": message})

        told = time.monotonic()

        def report(usage: Usage) -> None:
            nonlocal told
            answer.usage = usage
            if time.monotonic() - told >= _USAGE_EVERY:
                told = time.monotonic()
                tell({"usage": usage.model_dump()})

        try:
            self._executor.run(job, ItemLog(packed.stage, packed.label, log), progress, stop, report)
        finally:
            over.set()
            follower.join()
        shutil.rmtree(resume, ignore_errors=True)

    def _made(self, folder: Path) -> tuple[dict[str, StoredFile], dict[str, Path]]:
        files: dict[str, StoredFile] = {}
        paths = {path.relative_to(folder).as_posix(): path for path in files_below(folder)}
        for name, path in paths.items():
            size, digest = self._blobs.store(path)
            files[name] = {"size": size, "sha256": digest}
        return files, paths

    def _transfer_of(self, settings: StoreSettings) -> Transfer:
        with self._lock:
            if settings not in self._transfer:
                self._transfer[settings] = Transfer(settings, self._folder, self._blobs)
            return self._transfer[settings]

    def _drop_contents(self) -> None:
        """Keep contents within their part of the disk; those used longest ago go first."""
        kept = []
        for path in (self._folder / "blobs").glob("*"):
            with suppress(FileNotFoundError):  # another item dropped it
                status = path.stat()
                kept.append((status.st_ctime_ns, status.st_size, path.name))  # a link that comes or goes changes ctime
        held = sum(size for _, size, _ in kept)
        most = _KEPT * (held + (free_space(self._folder) or held))
        for _, _, digest in sorted(kept):
            if held <= most:
                break
            held -= self._blobs.drop(digest)


@cache
def workshop(folder: Path) -> Workshop:
    """The one of this process for a folder."""
    return Workshop(folder)


def _follow(log: Path, tell: Tell, over: threading.Event) -> None:
    """Tell what is written to a log, until it is over."""
    read, ended = 0, False
    while not ended:
        ended = over.wait(_TELL_EVERY)
        with open_regular(log) as file:
            file.seek(read)
            text = file.read(_PIECE)
        if text:
            read += len(text)
            tell({"log": text.decode(errors="replace")})


def _end_of(log: Path) -> str:
    with open_regular(log) as file:
        file.seek(max(log.stat().st_size - _MOST_LOG, 0))
        return file.read().decode(errors="replace")
