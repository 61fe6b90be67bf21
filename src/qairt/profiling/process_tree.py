"""The processes of a tree, sampled repeatedly at low cost: on Linux directly from `/proc`."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass

import psutil

_PAGE = os.sysconf("SC_PAGE_SIZE") if hasattr(os, "sysconf") else 4096
_TICK = os.sysconf("SC_CLK_TCK") if hasattr(os, "sysconf") else 100
_PSS_SHARE = 0.004
"""Share of one core spent on reading PSS: the kernel walks all pages of a process for it."""
_PSS_SECONDS = (1.0, 30.0)
"""Shortest and longest time after which the PSS of a process is read again."""


@dataclass(frozen=True, slots=True)
class Process:
    """One process at the time of a sample."""

    pid: int
    parent: int
    began: float
    """Its start time by a clock of the system; distinguishes processes that reuse a pid."""
    cpu_seconds: float
    """Of all its threads, since it was started."""
    rss: int
    """Bytes."""
    is_stopped: bool = False
    """By a signal (SIGSTOP), until another one continues it."""


class ProcessTree:
    """A process and everything below it.

    Args:
        pid: the root; this process when left out.
    """

    def __init__(self, pid: int | None = None) -> None:
        self.root = os.getpid() if pid is None else pid
        self._read: Callable[[int], Process | None] = _from_proc if sys.platform == "linux" else _from_psutil
        self._members: dict[int, Process] = {}
        self._foreign: set[int] = set()
        """Processes outside the tree, which cannot join it."""

    def sample(self) -> dict[int, Process]:
        """The tree's processes by pid, the root first; empty when the root has ended."""
        present = set(psutil.pids())
        self._foreign &= present
        found = {pid: process for pid in present - self._foreign if (process := self._read(pid)) is not None}
        root = found.get(self.root)
        if root is None or self._is_another(root):
            self._members = {}
            return {}
        children: dict[int, list[Process]] = {}
        for process in found.values():
            children.setdefault(process.parent, []).append(process)
        # A process stays in the tree when its parent ends and it is reparented.
        waiting = [root, *(process for process in found.values() if self._is_known(process))]
        members: dict[int, Process] = {}
        for process in waiting:
            if process.pid not in members:
                members[process.pid] = process
                waiting += children.get(process.pid, ())
        self._foreign |= found.keys() - members.keys()
        self._members = members
        return members

    def _is_known(self, process: Process) -> bool:
        before = self._members.get(process.pid)
        return before is not None and before.began == process.began

    def _is_another(self, root: Process) -> bool:
        """Whether another process reuses the root's pid since the first sample."""
        before = self._members.get(self.root)
        return before is not None and before.began != root.began


class SharedMemory:
    """Memory of processes as proportional set size (PSS), which counts shared pages once.

    PSS is read as often as its cost allows; in between, growth is taken from RSS.
    """

    def __init__(self) -> None:
        self._known: dict[int, tuple[float, int, float]] = {}
        """By pid: start time, PSS minus RSS, when to read it again."""

    def total(self, processes: Iterable[Process]) -> int:
        """Bytes that these processes use together."""
        memory, known = 0, {}
        processes = list(processes)
        for process in processes:
            began, difference, due = self._known.get(process.pid, (-1.0, 0, 0.0))
            now = time.monotonic()
            if began != process.began or now >= due:
                difference = _pss(process) - process.rss
                spent = (time.monotonic() - now) * len(processes)
                least, most = _PSS_SECONDS
                due = now + min(max(spent / _PSS_SHARE, least), most)
            known[process.pid] = (process.began, difference, due)
            memory += max(process.rss + difference, 0)
        self._known = known
        return memory


def below(processes: dict[int, Process], roots: Iterable[int]) -> list[Process]:
    """The processes that are one of `roots` or a descendant of one."""
    found = set(roots)
    grew = True
    while grew:
        more = {process.pid for process in processes.values() if process.parent in found} - found
        found |= more
        grew = bool(more)
    return [process for process in processes.values() if process.pid in found]


def _from_proc(pid: int) -> Process | None:
    try:
        with open(f"/proc/{pid}/stat", "rb", buffering=0) as file:
            fields = file.read().rpartition(b")")[2].split()
    except OSError:
        return None
    if fields[0] in (b"Z", b"X"):
        return None
    return Process(
        pid=pid,
        parent=int(fields[1]),
        began=float(fields[19]),
        cpu_seconds=(int(fields[11]) + int(fields[12])) / _TICK,
        rss=int(fields[21]) * _PAGE,
        is_stopped=fields[0] in (b"T", b"t"),
    )


def _from_psutil(pid: int) -> Process | None:
    try:
        process = psutil.Process(pid)
        with process.oneshot():
            times = process.cpu_times()
            return Process(
                pid,
                process.ppid(),
                process.create_time(),
                times.user + times.system,
                process.memory_info().rss,
                process.status() == psutil.STATUS_STOPPED,
            )
    except psutil.Error:
        return None


def _pss(process: Process) -> int:
    """PSS in bytes; RSS where the system has no PSS."""
    try:
        if sys.platform != "linux":
            return int(getattr(psutil.Process(process.pid).memory_full_info(), "pss", process.rss))
        with open(f"/proc/{process.pid}/smaps_rollup", "rb") as file:
            for line in file:
                if line.startswith(b"Pss:"):
                    return int(line.split()[1]) * 1024
    except (OSError, psutil.Error):
        pass
    return process.rss
