"""A run of toy stages in a thread, and its state as another process would fold it from its events."""

from __future__ import annotations

import threading
from collections.abc import Callable
from pathlib import Path

from toy_stages import Fan, FanConfig, Join, LaterConfig, Source, SourceConfig, Upper
from wait import until

from qairt.engine.pipeline import Pipeline
from qairt.engine.record import events as ev
from qairt.engine.record.folder import RunFolder
from qairt.engine.record.state import RunState
from qairt.engine.run.options import RunOptions


def four_stages(folder: Path, later: float = 0.0, **fan: object) -> Pipeline:
    stages = [
        Source(SourceConfig()),
        Fan(FanConfig.model_validate({"arn": [1, 2, 3]} | fan)),
        Upper(LaterConfig(sleep=later)),
        Join(),
    ]
    return Pipeline(stages, folder)


class ThreadedRun:
    """A run in a thread, and its state as a watcher folds it."""

    def __init__(self, pipeline: Pipeline, jobs: int = 1) -> None:
        self.pipeline = pipeline
        self.state = RunState()
        pipeline.add_listener(self.state.apply)
        self.result = None
        self.thread = threading.Thread(target=self._run, args=(RunOptions(jobs=jobs, memory=10**9),))
        self.thread.start()

    def _run(self, options: RunOptions) -> None:
        self.result = self.pipeline.construct(options)

    def until(self, holds: Callable[[RunState], bool], seconds: float = 20.0) -> None:
        until(lambda: holds(self.state), seconds, describe=self.statuses)

    def statuses(self) -> dict[str, str]:
        return {item.name: item.status for item in self.state.items.values()}

    @property
    def folder(self) -> RunFolder:
        return RunFolder(self.pipeline.state_folder / "runs" / self.state.run_id)

    def ask(self, *words: str) -> ev.RequestAnswered:
        request = self.folder.request(*words)  # type: ignore[arg-type]
        self.until(lambda state: any(answer.request == request for answer in state.answers))
        return next(answer for answer in self.state.answers if answer.request == request)

    def end(self) -> dict[str, str]:
        self.thread.join(30)
        return self.statuses()
