"""A job: everything one item needs to be made, as plain data in a file, and what comes back."""

from __future__ import annotations

import importlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, JsonValue

from qairt.engine.axes import Coord
from qairt.engine.run.usage import Usage
from qairt.engine.stage import AnyStage, Context, StageOutput, Task, write_output

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
    """Fields of the stage's input type, for each source."""
    directory: Path
    """Empty folder that becomes the item."""
    resume: Path
    """Outlives an attempt that was killed; see `Context.resume`."""
    threads: int


class JobResult(BaseModel):
    """What a child says when it ends: an error as plain data, or none; what it used either way."""

    error: dict[str, Any] | None = None
    usage: Usage = Usage()


def import_path(stage: type[AnyStage]) -> str:
    return f"{stage.__module__}:{stage.__qualname__}"


def run_job(job: Job, progress: Callable[[float, str], None]) -> StageOutput:
    """Make the item in this process; its output record is written beside its files.

    Raises:
        QairtError: whatever the stage raises.
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
