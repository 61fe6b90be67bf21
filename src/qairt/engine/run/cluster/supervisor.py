"""`qairt worker`: a Dask worker of this machine, started again when it ends by itself.

Dask ends a worker for good when its scheduler is gone, or when it was cut off for half a minute.
"""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

from qairt.amounts import count, size
from qairt.engine.run.cluster.dask_package import no_scheduler, require_distributed, silence_dask
from qairt.errors import QairtError
from qairt.files import require_writable
from qairt.machine import available_cores, available_memory, this_host

_AGAIN_S = 3.0
"""Between two attempts to join."""
_JOIN_S = 20.0
"""For the scheduler to answer, at the first attempt."""
_END_S = 5.0


def work(scheduler: str, folder: Path, *, jobs: int | None, memory: int | None, notify: Callable[[str], None]) -> None:
    """Make items until SIGINT or SIGTERM.

    Args:
        folder: where they are made.
        jobs: items at a time; one for each core by default.
        memory: bytes of RAM for them; what is free by default.
        notify: gets a sentence when it has joined, or was cut off.

    Raises:
        RecipeError: the package distributed is missing.
        QairtError: no scheduler answers, or the folder cannot be written.
    """
    require_distributed("a worker")
    try:
        folder.mkdir(parents=True, exist_ok=True)
        require_writable(folder)
    except OSError as error:
        raise QairtError(
            f"items cannot be made here: {error.strerror or error}", where=str(folder), remedy="choose another --folder"
        ) from error
    import dask

    # Items are processes of their own: what Dask does when its own comes near to the limit is not meant for them.
    dask.config.set({f"distributed.worker.memory.{what}": False for what in ("target", "spill", "pause", "terminate")})
    silence_dask()
    asyncio.run(_Supervisor(scheduler, folder, jobs or available_cores(), memory or available_memory(), notify).work())


class _Supervisor:
    def __init__(self, scheduler: str, folder: Path, jobs: int, memory: int, notify: Callable[[str], None]) -> None:
        self._scheduler, self._folder, self._notify = scheduler, folder, notify
        self._jobs, self._memory = jobs, memory

    async def work(self) -> None:
        ended = asyncio.Event()
        for number in (signal.SIGINT, signal.SIGTERM):
            asyncio.get_running_loop().add_signal_handler(number, ended.set)
        first = True
        while not ended.is_set():
            worker = await self._joined(ended, first=first)
            first = False
            if worker is None:
                continue
            what = f"{count(self._jobs, 'item')} at a time, {size(self._memory)} of RAM"
            self._notify(f"{this_host()} works for {self._scheduler}: {what}, in {self._folder}")
            over = asyncio.ensure_future(worker.finished())
            asked = asyncio.ensure_future(ended.wait())
            await asyncio.wait([over, asked], return_when=asyncio.FIRST_COMPLETED)
            if ended.is_set():
                await worker.close(timeout=_END_S)
            else:
                self._notify(f"cut off from {self._scheduler}: trying to join again")
            over.cancel()
            asked.cancel()

    async def _joined(self, ended: asyncio.Event, *, first: bool) -> Any:
        """A worker that has joined; None where it could not, after a pause."""
        from distributed import Worker

        worker = Worker(
            self._scheduler,
            nthreads=self._jobs,
            memory_limit=self._memory,
            local_directory=str(self._folder),
            death_timeout=_JOIN_S,
            dashboard=False,
        )
        starting = asyncio.ensure_future(_started(worker))
        asked = asyncio.ensure_future(ended.wait())
        await asyncio.wait([starting, asked], return_when=asyncio.FIRST_COMPLETED)
        asked.cancel()
        if not starting.done():
            starting.cancel()
            return None
        problem = starting.exception()
        if problem is None:
            return worker
        if first:
            raise no_scheduler(self._scheduler) from problem
        await asyncio.wait([asyncio.ensure_future(ended.wait())], timeout=_AGAIN_S)
        return None


async def _started(worker: Any) -> None:
    await worker
