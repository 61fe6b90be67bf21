"""`manifest.json`: which stages have completed and where their artifacts live.

{"stages": {"<stage>": {"artifact_path", "timestamp", "config"?, "cache_key"?, "items"?: {"<label>": {...}}}}}
"""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from filelock import FileLock

from qairt.engine.files import write_atomic
from qairt.engine.stage import StageConfig

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
        """The manifest, or an empty structure if it is absent or damaged (it only repeats what the entries say)."""
        try:
            return self._load()
        except (FileNotFoundError, ValueError):
            return {"stages": {}}

    def is_damaged(self) -> bool:
        """Whether a file is there that does not hold a manifest."""
        return self._path.exists() and not self._holds_a_manifest()

    def remove(self, *stage_names: str) -> None:
        """Remove stage entries; names that are not there are passed over."""

        def change(stages: dict[str, Any]) -> None:
            for name in stage_names:
                stages.pop(name, None)

        self._change(change)

    def remove_item(self, stage_name: str, label: str) -> None:
        """Remove one item's record."""

        def change(stages: dict[str, Any]) -> None:
            stages.get(stage_name, {}).get("items", {}).pop(label, None)

        self._change(change)

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

        self._change(change)

    def update_item(self, stage_name: str, label: str, record: dict[str, Any]) -> None:
        """Add or update one item's record below its stage."""

        def change(stages: dict[str, Any]) -> None:
            stage = stages.setdefault(stage_name, {"artifact_path": None, "timestamp": _now()})
            stage.setdefault("items", {})[label] = record | {"timestamp": _now()}

        self._change(change)

    def _change(self, change: Callable[[dict[str, Any]], None]) -> None:
        self._path.parent.mkdir(parents=True, exist_ok=True)
        with FileLock(self._path.with_suffix(".lock")):
            content = self.read()
            before = json.dumps(content)
            change(content["stages"])
            if json.dumps(content) != before or not self._holds_a_manifest():
                write_atomic(self._path, json.dumps(content, indent=2) + "\n")

    def _holds_a_manifest(self) -> bool:
        try:
            self._load()
        except (OSError, ValueError):
            return False
        return True

    def _load(self) -> dict[str, Any]:
        """The content of the file.

        Raises:
            OSError: it cannot be read.
            ValueError: it is not a manifest, down to the records of items.
        """
        try:
            content = json.loads(self._path.read_bytes())
        except RecursionError as error:
            raise ValueError("it is nested too deeply") from error
        stages = content.get("stages") if isinstance(content, dict) else None
        if not isinstance(stages, dict):
            raise ValueError("it has no stages")
        for stage in stages.values():
            if not isinstance(stage, dict) or not isinstance(stage.get("items", {}), dict):
                raise ValueError("a stage is not a mapping")
        return dict(content)


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")
