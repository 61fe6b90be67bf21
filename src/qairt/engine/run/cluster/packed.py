"""A job without paths of one machine: what it reads is named by digests, and is found in a shared store."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from pydantic import BaseModel, ConfigDict, Field, JsonValue

from qairt.engine.cache.entry import StoredFile
from qairt.engine.run.jobs import Job, JobError
from qairt.engine.run.usage import Usage
from qairt.engine.shared_store.settings import StoreSettings

_ROOT = "/@qairt/"
"""What paths begin with between two machines."""
_OWN = ("directory", "resume", "shared", "digests", "folders", "module_folder")
"""Fields of a job that each machine has its own values for. A stage of the user's own is imported from what is
installed there."""


class PackedJob(BaseModel):
    """A job as it travels."""

    model_config = ConfigDict(extra="forbid")

    name: str
    """Of the folder of its checkpoints: it stands for the item's key."""
    stage: str
    label: str
    job: dict[str, JsonValue]
    files: dict[str, StoredFile]
    """What it reads, by its path below the folder where it is made."""
    store: StoreSettings
    suspect: list[str] = Field(default_factory=list)
    """Digests of what it made before and the store lost or spoiled: they are sent whatever the store says."""


class WorkerAnswer(BaseModel):
    """What a worker says of a job that ended."""

    model_config = ConfigDict(extra="forbid")

    files: dict[str, StoredFile] = Field(default_factory=dict)
    """What it made, by name; the store has them."""
    usage: Usage = Usage()
    log: str = ""
    """All that the item printed, or its end."""
    error: JobError | None = None
    signal: int | None = None
    """That ended its process."""
    damaged: list[str] = Field(default_factory=list)
    """Digests of contents that the store did not have, or not whole: it was not made."""
    unavailable: str = ""
    """Why the store could not be used: it was not made."""


def pack(job: Job, stage: str, label: str, store: StoreSettings) -> tuple[PackedJob, dict[str, Path]]:
    """A job for any machine, and the file of each digest that it reads."""
    places = {folder: f"inputs/{number}" for number, folder in enumerate(dict.fromkeys(job.folders))}
    files: dict[str, StoredFile] = {}
    contents: dict[str, Path] = {}

    def name_of(path: Path) -> str | None:
        """Its name below the folder where the item is made; None for what it does not read."""
        folder = next((folder for folder in places if path.is_relative_to(folder)), None)
        return None if folder is None else f"{places[folder]}/{path.relative_to(folder).as_posix()}"

    for path, digest in job.digests.items():
        name = name_of(path)
        if name is not None:
            files[name] = {"size": path.stat().st_size, "sha256": digest}
            contents[digest] = path

    def replaced(text: str) -> str:
        name = name_of(Path(text)) if text.startswith("/") else None
        return text if name is None else f"{_ROOT}{name}"

    plain = job.model_dump(mode="json", exclude=set(_OWN))
    packed = {name: _mapped(value, replaced) for name, value in plain.items()}
    return PackedJob(name=job.resume.name, stage=stage, label=label, job=packed, files=files, store=store), contents


def unpack(packed: PackedJob, folder: Path, *, resume: Path, shared: Path) -> Job:
    """The job on this machine.

    Args:
        folder: where it is made: what it reads is there, and its empty `made` becomes the item.
    """

    def placed(text: str) -> str:
        return str(folder / text[len(_ROOT) :]) if text.startswith(_ROOT) else text

    plain = {name: _mapped(value, placed) for name, value in packed.job.items()}
    return Job.model_validate(
        {
            **plain,
            "directory": folder / "made",
            "resume": resume,
            "shared": shared,
            "digests": {folder / name: file["sha256"] for name, file in packed.files.items()},
        }
    )


def _mapped(value: JsonValue, change: Callable[[str], str]) -> JsonValue:
    """The value with every text in it changed, names of mappings included."""
    if isinstance(value, str):
        return change(value)
    if isinstance(value, list):
        return [_mapped(part, change) for part in value]
    if isinstance(value, dict):
        return {change(name): _mapped(part, change) for name, part in value.items()}
    return value
