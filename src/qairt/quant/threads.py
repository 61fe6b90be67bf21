"""Threads that each run torch alone: results are then the same bit for bit for any number of them."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager

import torch


@contextmanager
def one_thread_each(threads: int | None = None, device: str = "cpu") -> Iterator[ThreadPoolExecutor]:
    """A pool whose workers run torch on one thread each.

    Args:
        threads: number of workers; torch's own number of threads when None.
        device: what they compute on, as torch names it. A GPU has one worker: more would only take its memory.
    """
    workers = threads if device == "cpu" else 1
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        with ThreadPoolExecutor(workers or before, initializer=torch.set_num_threads, initargs=(1,)) as pool:
            yield pool
    finally:
        torch.set_num_threads(before)
