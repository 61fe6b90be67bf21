"""Records of evaluations: each is a line of `history.jsonl`, the latest of each target is in `metrics.json`.

Other readers of `history.jsonl` skip a line with `evaluation: 1`; in `metrics.json` no stage is named evaluate.
"""

from __future__ import annotations

import json
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path, PurePath
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, JsonValue, ValidationError

from qairt import keys
from qairt.engine.record.history_file import HistoryFile
from qairt.engine.record.metrics_file import MetricsFile
from qairt.errors import CacheError, unwritable
from qairt.machine import this_host
from qairt.recipe.configs import BASE

SECTION = "evaluate"
"""Of `metrics.json`."""


class MetricRecord(BaseModel):
    """One metric's score and the data behind it."""

    model_config = ConfigDict(ser_json_inf_nan="strings")

    metric: str
    arguments: dict[str, JsonValue] = {}
    score: float
    higher_is_better: bool = True
    dataset: str = ""
    dataset_digest: str = ""
    """SHA-256 of the text."""
    chunks: int = 0


class EvaluationRecord(BaseModel):
    """One evaluation."""

    model_config = ConfigDict(ser_json_inf_nan="strings")

    evaluation: Literal[1] = 1
    """The version of this record; marks it among other records in the same file."""
    target: str
    concurrency: str = BASE
    """The LoRA adapters that were active."""
    adapters: str = ""
    """A digest of their content and strengths; empty for the base."""
    metrics: dict[str, MetricRecord]
    """By display name."""
    context_length: int
    model: str
    model_digest: str
    """Of the content of the model's files."""
    recipe: dict[str, JsonValue]
    recipe_digest: str
    artifacts: dict[str, str]
    """By stage that was evaluated: a digest of its items."""
    toolchain: str
    versions: dict[str, str]
    """By package that computes."""
    time: float
    seconds: float
    host: str = ""

    @property
    def scores(self) -> dict[str, float]:
        """`{display_name: score}`."""
        return {title: metric.score for title, metric in self.metrics.items()}

    def plain(self) -> dict[str, Any]:
        """The record as JSON; an infinite score is the text `Infinity`."""
        plain: dict[str, Any] = json.loads(self.model_dump_json())
        return plain


@dataclass(frozen=True)
class RecordDifference:
    """One fact in which two evaluations differ."""

    name: str
    a: object
    b: object


def records(state_folder: Path) -> list[EvaluationRecord]:
    """All evaluations of a cache directory, oldest first; they are numbered from 1."""
    found = []
    for line in HistoryFile(state_folder).read("evaluation"):
        with suppress(ValidationError):
            found.append(EvaluationRecord.model_validate(line))
    return found


def add_record(state_folder: Path, record: EvaluationRecord) -> int:
    """Add an evaluation; returns its number.

    Raises:
        CacheError: the cache directory cannot be written.
    """
    plain = record.plain()
    scores = {name: value for name, value in plain.items() if name not in ("recipe", "evaluation")}

    def add_scores(sections: dict[str, JsonValue]) -> None:
        latest = sections.get(SECTION)
        sections[SECTION] = {**(latest if isinstance(latest, dict) else {}), _place(record): scores}

    try:
        HistoryFile(state_folder).append(plain)
        MetricsFile(state_folder).change(add_scores)
    except OSError as error:
        raise unwritable(error, "the scores", state_folder, instead="choose another cache with --cache-dir") from error
    return len(records(state_folder))


def _place(record: EvaluationRecord) -> str:
    """The key of a record's scores: `cpu`, or `cpu french` for a concurrency."""
    return record.target if record.concurrency == BASE else f"{record.target} {record.concurrency}"


def find_record(state_folder: Path, number: int) -> EvaluationRecord:
    """
    Raises:
        CacheError: there is no evaluation of that number; says which there are.
    """
    known = records(state_folder)
    if not 1 <= number <= len(known):
        remedy = f"choose from 1 to {len(known)}: qairt evaluate RECIPE --list" if known else "qairt evaluate RECIPE"
        raise CacheError(f"there is no evaluation {number}", where=str(state_folder), remedy=remedy)
    return known[number - 1]


def differences(a: EvaluationRecord, b: EvaluationRecord) -> list[RecordDifference]:
    """Everything in which two evaluations differ besides the scores: recipe, model, toolchain, target, texts."""
    found = [RecordDifference(f"recipe: {path}", *values) for path, *values in differing_settings(a.recipe, b.recipe)]
    for name in ("model", "model_digest", "toolchain", "target", "concurrency", "adapters", "context_length", "host"):
        found += _differing(name.replace("_", " "), getattr(a, name), getattr(b, name))
    for name in _names(a.artifacts, b.artifacts):
        found += _differing(f"items of {name}", a.artifacts.get(name), b.artifacts.get(name))
    for name in _names(a.versions, b.versions):
        found += _differing(name, a.versions.get(name), b.versions.get(name))
    for title in _names(a.metrics, b.metrics):
        one, other = a.metrics.get(title), b.metrics.get(title)
        if one is not None and other is not None:
            for name in ("metric", "dataset", "dataset_digest", "chunks"):
                found += _differing(f"{title}: {name.replace('_', ' ')}", getattr(one, name), getattr(other, name))
            for path, before, after in keys.differing_leaves(one.arguments, other.arguments):
                if path not in ("dataset", "chunks"):
                    found.append(RecordDifference(f"{title}: {path}", before, after))
    return found


def recipe_of(recipe: Mapping[str, object]) -> dict[str, JsonValue]:
    """The part of a recipe that can change a score: not where it runs and stores its work, which reports it writes or
    which metrics it lists."""
    kept: dict[str, JsonValue] = keys.plain({name: value for name, value in recipe.items() if name not in _NOT_SCORED})
    stages = kept.get("stages")
    if isinstance(stages, dict):
        kept["stages"] = {name: _without_output(settings) for name, settings in stages.items()}
    return kept


def differing_settings(a: Mapping[str, object], b: Mapping[str, object]) -> list[tuple[str, object, object]]:
    """The settings in which two results of `recipe_of` differ, as `(dotted path, a, b)`.

    A relative path equals an absolute one that ends with it: recipes of older runs hold paths as they were written.
    """
    return [leaf for leaf in keys.differing_leaves(a, b) if not _is_same_path(leaf[1], leaf[2])]


def _is_same_path(a: object, b: object) -> bool:
    if not isinstance(a, str) or not isinstance(b, str):
        return False
    relative, absolute = sorted((PurePath(a), PurePath(b)), key=lambda path: path.is_absolute())
    if relative.is_absolute() or not absolute.is_absolute() or not relative.name:
        return False
    return absolute.parts[-len(relative.parts) :] == relative.parts


_NOT_SCORED = ("cache_dir", "evaluator", "verify", "suppress_performance_warnings", "execution_environment", "sdk_root")


def _without_output(settings: JsonValue) -> JsonValue:
    if not isinstance(settings, dict):
        return settings
    return {name: value for name, value in settings.items() if name != "output"}


def now() -> tuple[float, str]:
    """The time and this machine's name, for a record."""
    return time.time(), this_host()


def _differing(name: str, a: object, b: object) -> list[RecordDifference]:
    return [] if a == b else [RecordDifference(name, a, b)]


def _names(a: Mapping[str, object], b: Mapping[str, object]) -> Sequence[str]:
    return list(dict.fromkeys([*a, *b]))
