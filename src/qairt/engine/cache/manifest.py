"""`manifest.json`: which stages have completed and where their artifacts live.

{"stages": {"<stage>": {"artifact_path", "timestamp", "config"?, "cache_key"?, "items"?: {"<label>": {...}}}}}
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from filelock import FileLock

from qairt.engine.stage import StageConfig
from qairt.errors import CacheError
from qairt.files import write_atomic

STATE_FOLDER = "pipeline_state"


class PipelineManifest:
    """Reads and writes the pipeline-level manifest. Every change is one atomic replacement under a file lock."""

    def __init__(self, cache_dir: str | Path) -> None:
        self._path = (Path(cache_dir) / STATE_FOLDER / "manifest.json").absolute()

    @property
    def path(self) -> Path:
        """Absolute path to `manifest.json`."""
        return self._path

    def read(self) -> dict[str, Any]:
        """The manifest, or an empty structure if it is absent or damaged (it only repeats what the entries say).

        Raises:
            CacheError: a file is there that cannot be read.
        """
        raw = self.raw()
        try:
            return {"stages": {}} if raw is None else parse_manifest(raw)
        except ValueError:
            return {"stages": {}}

    def raw(self) -> bytes | None:
        """The bytes of the file; None when there is no file.

        Raises:
            CacheError: it cannot be read.
        """
        try:
            return self._path.read_bytes()
        except (FileNotFoundError, NotADirectoryError, IsADirectoryError):
            return None
        except OSError as error:
            raise self._refused("read", error) from error

    def is_damaged(self) -> bool:
        """Whether a file is there that does not hold a manifest."""
        return self._path.exists() and not self._holds_a_manifest()

    def remove(self, *stage_names: str) -> None:
        """Remove stage entries; names that are not there are passed over."""

        def change(stages: dict[str, Any]) -> None:
            for name in stage_names:
                stages.pop(name, None)

        self.change(change)

    def remove_item(self, stage_name: str, label: str) -> None:
        """Remove one item's record."""

        def change(stages: dict[str, Any]) -> None:
            stages.get(stage_name, {}).get("items", {}).pop(label, None)

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
            artifact_path: where artifacts were written, or None if none were persisted.
            stage_config: only explicitly set fields are serialised.
            cache_key: the key-chain key, checked on resume.
        """
        entry: dict[str, Any] = {
            "artifact_path": None if artifact_path is None else str(artifact_path),
            "timestamp": _now(),
        }
        if stage_config is not None:
            entry["config"] = stage_config.model_dump_json(exclude_unset=True)
        if cache_key is not None:
            entry["cache_key"] = cache_key

        def change(stages: dict[str, Any]) -> None:
            items = stages.get(stage_name, {}).get("items")
            stages[stage_name] = entry | ({"items": items} if items else {})

        self.change(change)

    def update_item(self, stage_name: str, label: str, record: dict[str, Any]) -> None:
        """Add or update one item's record below its stage."""

        def change(stages: dict[str, Any]) -> None:
            stage = stages.setdefault(stage_name, {"artifact_path": None, "timestamp": _now()})
            stage.setdefault("items", {})[label] = record | {"timestamp": _now()}

        self.change(change)

    def change(self, change: Callable[[dict[str, Any]], object]) -> None:
        """Let `change` alter the stages' records in place; nothing is written when it leaves them as they are.

        Raises:
            CacheError: the file cannot be read or written.
        """
        with self._locked():
            content = self.read()
            before = json.dumps(content)
            change(content["stages"])
            if json.dumps(content) != before or not self._holds_a_manifest():
                self._write(manifest_bytes(content))

    def replace(self, digest: str, raw: bytes) -> bool:
        """Write `raw` if the file has the SHA-256 `digest` now; returns whether it had.

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
            with FileLock(self._path.with_suffix(".lock")):
                yield
        except OSError as error:
            raise self._refused("written", error) from error

    def _write(self, raw: bytes) -> None:
        if self._path.is_dir():  # it is no manifest, but it may be of use to someone
            os.rename(self._path, self._path.with_name(f".bad-{self._path.name}-{os.getpid()}"))
        write_atomic(self._path, raw)

    def _refused(self, what: str, error: OSError) -> CacheError:
        return CacheError(
            f"the manifest cannot be {what}: {error.strerror or error}",
            where=str(self._path),
            remedy="give yourself read and write access to the cache directory, or give another one with --cache-dir",
        )

    def _holds_a_manifest(self) -> bool:
        try:
            parse_manifest(self._path.read_bytes())
        except (OSError, ValueError):
            return False
        return True


def parse_manifest(raw: bytes) -> dict[str, Any]:
    """What the bytes of a manifest say.

    Raises:
        ValueError: they are not a manifest, down to the records of items.
    """
    try:
        content = json.loads(raw)
    except RecursionError as error:
        raise ValueError("it is nested too deeply") from error
    stages = content.get("stages") if isinstance(content, dict) else None
    if not isinstance(stages, dict):
        raise ValueError("it has no stages")
    for stage in stages.values():
        if not isinstance(stage, dict) or not isinstance(stage.get("items", {}), dict):
            raise ValueError("a stage is not a mapping")
    return dict(content)


def manifest_bytes(content: dict[str, Any]) -> bytes:
    """A manifest as it is written."""
    return (json.dumps(content, indent=2) + "\n").encode()


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")
