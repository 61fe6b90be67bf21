"""A job: everything needed to make one item, as plain data in a file, and its result."""

from __future__ import annotations

import importlib
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, JsonValue

from qairt.engine.axes import Coord
from qairt.engine.run.usage import Usage
from qairt.engine.stage import AnyStage, Context, Progress, StageOutput, Task, write_output
from qairt.errors import QairtError

RESULT = "result.json"
PROGRESS = "progress.jsonl"


class Job(BaseModel):
    """One item's task as data."""

    model_config = ConfigDict(extra="forbid")

    stage: str
    """Import path, `module:Class`."""
    config: dict[str, JsonValue]
    task: Task
    inputs: list[tuple[Coord, dict[str, JsonValue]]]
    """For each source, the fields of the stage's input type."""
    directory: Path
    """Empty folder that becomes the item."""
    resume: Path
    """Outlives a killed attempt; see `Context.resume`."""
    threads: int


class JobError(BaseModel):
    """The error that ended a job."""

    what: str
    where: str | None = None
    remedy: str | None = None

    def as_error(self) -> QairtError:
        return QairtError(self.what, where=self.where, remedy=self.remedy)


class JobResult(BaseModel):
    """What a child process reports when it ends."""

    error: JobError | None = None
    usage: Usage = Usage()


def import_path(stage: type[AnyStage]) -> str:
    return f"{stage.__module__}:{stage.__qualname__}"


def run_job(job: Job, progress: Progress) -> StageOutput:
    """Make the item in this process; its fields are written beside its files.

    Raises:
        QairtError: from the stage.
    """
    module, _, name = job.stage.partition(":")
    found: Any = importlib.import_module(module)
    for part in name.split("."):
        found = getattr(found, part)
    stage_type: type[AnyStage] = found
    config = stage_type.config_type.model_validate(job.config)
    inputs = {coord: stage_type.input_type.model_validate(fields) for coord, fields in job.inputs}
    context: Context[Any, Any] = Context(
        config=config, inputs=inputs, directory=job.directory, resume=job.resume, threads=job.threads, progress=progress
    )
    output: StageOutput = stage_type(config).run(job.task, context)
    write_output(output, job.directory)
    return output
