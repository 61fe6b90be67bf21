"""The executor that a run's options ask for."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from qairt.engine.record import events as ev
from qairt.engine.run.executor import Executor, InlineExecutor, ProcessExecutor

if TYPE_CHECKING:
    from qairt.engine.plan.plan import Planner
    from qairt.engine.run.options import RunOptions
    from qairt.engine.run.stream import EventStream


def make_executor(options: RunOptions, planner: Planner, stream: EventStream) -> Executor:
    """The executor; with `dask` nothing is connected yet."""
    if options.executor == "inline":
        return InlineExecutor()
    if options.executor == "process":
        return ProcessExecutor(forks=True)
    from qairt.engine.run.cluster.cluster import Worker
    from qairt.engine.run.cluster.executor import ClusterExecutor

    def notify(sentence: str) -> None:
        stream.emit(ev.LogLine(level="warning", message=sentence))

    def changed(workers: Sequence[Worker]) -> None:
        jobs, memory = sum(worker.jobs for worker in workers), sum(worker.memory for worker in workers)
        jobs, memory = max(jobs, options.jobs), max(memory, options.ram)
        stream.emit(ev.WorkersChanged(workers=len(workers), jobs=jobs, memory=memory))

    return ClusterExecutor(options.scheduler, planner.store, planner.cache, notify, changed)
