"""A job: everything needed to make one item, as plain data in a file, and its result."""

from __future__ import annotations

import importlib
import sys
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, Field, JsonValue

from qairt.engine.artifact import require_below
from qairt.engine.axes import Coord
from qairt.engine.cache.manifest import STATE_FOLDER
from qairt.engine.run.usage import Usage
from qairt.engine.stage import AnyStage, Context, Progress, StageOutput, Task, write_output
from qairt.errors import QairtError, as_qairt_error, disk_full, is_disk_full
from qairt.machine import free_space

RESULT = "result.json"
PROGRESS = "progress.jsonl"
_FULL = 1 << 20
"""Bytes: a disk with less free is why a job on it failed, also where its libraries do not say so."""


class Job(BaseModel):
    """One item's task as data."""

    model_config = ConfigDict(extra="forbid")

    stage: str
    """Import path, `module:Class`."""
    module_folder: str | None = None
    """Where a stage that is not ours was imported from; a child looks there last."""
    imports: tuple[str, ...] = ()
    """See `Stage.imported_ahead`."""
    config: dict[str, JsonValue]
    task: Task
    inputs: list[tuple[Coord, dict[str, JsonValue]]]
    """For each source, the fields of the stage's input type."""
    directory: Path
    """Empty folder that becomes the item."""
    resume: Path
    """Outlives a killed attempt; see `Context.resume`."""
    shared: Path
    """See `Context.shared`."""
    threads: int
    digests: dict[Path, str] = Field(default_factory=dict)
    """See `Context.digests`."""
    folders: list[Path] = Field(default_factory=list)
    """Of the entries that it reads."""


class JobError(BaseModel):
    """The error that ended a job."""

    what: str
    where: str | None = None
    remedy: str | None = None
    out_of_memory: bool = False

    @classmethod
    def of(cls, failure: Exception, folder: Path) -> JobError:
        """The error for what a job in `folder` raised."""
        known = why_disk_is_full(folder) or as_qairt_error(failure)
        if known is not failure and known.where is None and is_disk_full(failure):
            known.where = _cache_of(folder)
        remedy = known.remedy or (None if known is failure else "the item's log has the traceback")
        return cls(what=known.what, where=known.where, remedy=remedy, out_of_memory=known.out_of_memory)

    def as_error(self) -> QairtError:
        error = QairtError(self.what, where=self.where, remedy=self.remedy)
        error.out_of_memory = self.out_of_memory
        return error


class JobResult(BaseModel):
    """What a child process reports when it ends."""

    error: JobError | None = None
    usage: Usage = Usage()


def import_path(stage: type[AnyStage]) -> str:
    return f"{stage.__module__}:{stage.__qualname__}"


def module_folder(stage: type[AnyStage]) -> str | None:
    """The folder from which this process imported a stage of the user's own; None for one of ours."""
    package, *inner = stage.__module__.split(".")
    file = getattr(sys.modules.get(stage.__module__), "__file__", None)
    if package == __name__.partition(".")[0] or file is None:
        return None
    path = Path(file).absolute()
    return str(path.parents[len(inner) + (path.name == "__init__.py")])


def why_disk_is_full(folder: Path) -> QairtError | None:
    """The error for a job in `folder`, if the disk there is full."""
    free = free_space(folder)
    return disk_full(_cache_of(folder)) if free is not None and free < _FULL else None


def _cache_of(folder: Path) -> str:
    """The part of a job's folder that a user knows: the cache."""
    return str(next((path for path in folder.parents if path.name == STATE_FOLDER), folder.parent))


def run_job(job: Job, progress: Progress) -> StageOutput:
    """Make the item in this process; its fields are written beside its files.

    Raises:
        QairtError: from the stage.
    """
    if job.module_folder is not None and job.module_folder not in sys.path:
        sys.path.append(job.module_folder)
    module, _, name = job.stage.partition(":")
    found: Any = importlib.import_module(module)
    for part in name.split("."):
        found = getattr(found, part)
    stage_type: type[AnyStage] = found
    config = stage_type.config_type.model_validate(job.config)
    inputs = {coord: stage_type.input_type.model_validate(fields) for coord, fields in job.inputs}
    context: Context[Any, Any] = Context(
        config=config,
        inputs=inputs,
        directory=job.directory,
        resume=job.resume,
        shared=job.shared,
        threads=job.threads,
        progress=progress,
        digests=job.digests,
    )
    output: StageOutput = stage_type(config).run(job.task, context)
    for path in output.paths():
        require_below(path.relative_to(job.directory) if path.is_relative_to(job.directory) else path, job.directory)
    write_output(output, job.directory)
    return output
