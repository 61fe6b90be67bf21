"""`manifest.json`: which stages have completed and where their artifacts are.

{"stages": {"<stage>": {"artifact_path", "timestamp", "config"?, "cache_key"?, "items"?: {"<label>": {...}}}}}
"""

from __future__ import annotations

import errno
import hashlib
import json
import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from types import MappingProxyType

from filelock import FileLock
from pydantic import JsonValue

from qairt.engine.cache.entry import Entry
from qairt.engine.stage import StageConfig
from qairt.errors import CacheError
from qairt.files import parse_json, read_regular, set_aside, write_atomic

STATE_FOLDER = "pipeline_state"

StageRecord = dict[str, JsonValue]
"""What the manifest holds of one stage; `items_of` gives its items."""
Stages = dict[str, StageRecord]


def item_record(entry: Entry) -> dict[str, JsonValue]:
    """What the manifest holds of a finished item."""
    return {
        "artifact_path": str(entry.directory),
        "cache_key": entry.key,
        "seconds": round(entry.seconds, 3),
        "peak_rss": entry.peak_rss,
    }


class PipelineManifest:
    """Reads and writes the pipeline-level manifest. Every change is one atomic replacement under a file lock."""

    def __init__(self, cache_dir: str | Path) -> None:
        self._path = (Path(cache_dir) / STATE_FOLDER / "manifest.json").absolute()

    @property
    def path(self) -> Path:
        """Absolute path to `manifest.json`."""
        return self._path

    def read(self) -> dict[str, Stages]:
        """The manifest, or an empty one if it is absent or damaged; the entries hold the same facts.

        Raises:
            CacheError: the file exists but cannot be read.
        """
        raw = self.raw()
        try:
            return {"stages": {}} if raw is None else parse_manifest(raw)
        except ValueError:
            return {"stages": {}}

    def item(self, stage_name: str, label: str) -> dict[str, JsonValue]:
        """The record of one item; empty if there is none.

        Raises:
            CacheError: the file exists but cannot be read.
        """
        record = items_of(self.read()["stages"].get(stage_name, {})).get(label)
        return record if isinstance(record, dict) else {}

    def raw(self) -> bytes | None:
        """The bytes of the file; None if there is none.

        Raises:
            CacheError: it cannot be read.
        """
        try:
            return read_regular(self._path)
        except (FileNotFoundError, NotADirectoryError, IsADirectoryError):
            return None
        except OSError as error:
            if error.errno in (errno.EINVAL, errno.ELOOP):  # something else is in its place
                return None
            raise self._refused("read", error) from error

    def is_damaged(self) -> bool:
        """Whether the file exists but does not hold a manifest."""
        return self._path.exists() and not self._is_valid()

    def remove(self, *stage_names: str) -> None:
        """Remove stage entries; unknown names are ignored."""

        def change(stages: Stages) -> None:
            for name in stage_names:
                stages.pop(name, None)

        self.change(change)

    def update(
        self,
        stage_name: str,
        artifact_path: Path | None,
        stage_config: StageConfig | None = None,
        cache_key: str | None = None,
    ) -> None:
        """Add or update the entry of one stage.

        Args:
            stage_name: name of the stage.
            artifact_path: where artifacts were written, or None if none were kept.
            stage_config: only explicitly set fields are serialised.
            cache_key: the key-chain key, checked on resume.
        """
        entry: StageRecord = {
            "artifact_path": None if artifact_path is None else str(artifact_path),
            "timestamp": _now(),
        }
        if stage_config is not None:
            entry["config"] = config_text(stage_config)
        if cache_key is not None:
            entry["cache_key"] = cache_key

        def change(stages: Stages) -> None:
            items = items_of(stages.get(stage_name, {}))
            stages[stage_name] = entry | ({"items": items} if items else {})

        self.change(change)

    def update_item(self, stage_name: str, label: str, record: Mapping[str, JsonValue]) -> None:
        """Add or update one item's record below its stage."""

        def change(stages: Stages) -> None:
            stage = stages.setdefault(stage_name, {"artifact_path": None, "timestamp": _now()})
            stage["items"] = items_of(stage) | {label: {**record, "timestamp": _now()}}

        self.change(change)

    def change(self, change: Callable[[Stages], object]) -> None:
        """Let `change` alter the stages' records in place; nothing is written if they stay the same.

        Raises:
            CacheError: the file cannot be read or written.
        """
        with self._locked():
            content = self.read()
            before = json.dumps(content)
            change(content["stages"])
            if json.dumps(content) != before or not self._is_valid():
                self._write(manifest_bytes(content))

    def replace(self, digest: str, raw: bytes) -> bool:
        """Write `raw` if the file's SHA-256 is `digest`; returns whether it was.

        Raises:
            CacheError: the file cannot be read or written.
        """
        with self._locked():
            now = self.raw()
            if now is None or hashlib.sha256(now).hexdigest() != digest:
                return False
            self._write(raw)
            return True

    @contextmanager
    def _locked(self) -> Iterator[None]:
        try:
            self._path.parent.mkdir(parents=True, exist_ok=True)
            lock = self._path.with_suffix(".lock")
            if os.path.lexists(lock) and (lock.is_symlink() or not lock.is_file()):
                set_aside(lock)
            with FileLock(lock):
                yield
        except OSError as error:
            raise self._refused("written", error) from error

    def _write(self, raw: bytes) -> None:
        if self._path.is_dir():  # not ours to delete
            set_aside(self._path)
        write_atomic(self._path, raw)

    def _refused(self, what: str, error: OSError) -> CacheError:
        return CacheError(
            f"the manifest cannot be {what}: {error.strerror or error}",
            where=str(self._path),
            remedy="allow reading and writing in the cache directory, or choose another one with --cache-dir",
        )

    def _is_valid(self) -> bool:
        try:
            parse_manifest(read_regular(self._path))
        except (OSError, ValueError):
            return False
        return True


def config_text(config: StageConfig, added: Mapping[tuple[str, ...], object] = MappingProxyType({})) -> str:
    """The settings that were set, as JSON.

    Args:
        added: what presets added to them, by path: it was not set.
    """
    given = _without(config.model_dump(mode="json", exclude_unset=True), added, ())
    return json.dumps(given, ensure_ascii=False, separators=(",", ":"))


def _without(
    values: Mapping[str, JsonValue], added: Mapping[tuple[str, ...], object], path: tuple[str, ...]
) -> dict[str, JsonValue]:
    """`values` without those in `added`, and without mappings that hold nothing else."""
    kept: dict[str, JsonValue] = {}
    for name, value in values.items():
        here = (*path, name)
        if isinstance(value, dict) and value:
            inner = _without(value, added, here)
            if inner:
                kept[name] = inner
        elif here not in added or added[here] != value:
            kept[name] = value
    return kept


def parse_manifest(raw: bytes) -> dict[str, Stages]:
    """The content of a manifest.

    Raises:
        ValueError: the bytes are not a manifest, or a record in it is damaged.
    """
    content = parse_json(raw)
    stages = content.get("stages") if isinstance(content, dict) else None
    if not isinstance(stages, dict):
        raise ValueError("it has no stages")
    for stage in stages.values():
        if not isinstance(stage, dict) or not isinstance(stage.get("items", {}), dict):
            raise ValueError("a stage is not a mapping")
    return dict(content)


def items_of(record: StageRecord) -> dict[str, JsonValue]:
    """The records of a stage's items, by label."""
    items = record.get("items")
    return items if isinstance(items, dict) else {}


def manifest_bytes(content: Mapping[str, Stages]) -> bytes:
    """A manifest as bytes of a file."""
    return (json.dumps(content, indent=2) + "\n").encode()


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")
