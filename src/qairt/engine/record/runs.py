"""The runs of a cache directory: listed, compared, deleted."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from qairt.engine.record.folder import RunFolder, run_folders
from qairt.engine.record.summary import RunSummary, StageSummary, read_summary
from qairt.errors import CacheError


def run_summaries(state_folder: Path) -> list[RunSummary]:
    """All runs of a cache directory, the newest first."""
    return [read_summary(folder) for folder in reversed(run_folders(state_folder))]


def find_folder(state_folder: Path, run_id: str) -> RunFolder:
    """The folder of one run.

    Raises:
        CacheError: there is none of that id; names those that there are.
    """
    folders = run_folders(state_folder)
    for folder in folders:
        if folder.id == run_id:
            return folder
    latest = ", ".join(folder.id for folder in folders[-8:])
    remedy = f"latest runs: {latest}" if folders else "nothing was run in this cache yet"
    raise CacheError(f"there is no run {run_id}", where=str(state_folder), remedy=remedy)


def delete_run(state_folder: Path, run_id: str) -> None:
    """Delete a run's events and logs; what it made stays in the cache.

    Raises:
        CacheError: it is still going, there is none of that id, or its folder cannot be deleted.
    """
    folder = find_folder(state_folder, run_id)
    match folder.liveness():
        case "running":
            raise CacheError(f"run {run_id} is still going", where=str(folder.path), remedy="cancel it first")
        case "unknown":
            host = folder.host()
            raise CacheError(
                f"run {run_id} may still be going on {host.host if host else 'another machine'}",
                where=str(folder.path),
                remedy="delete it on that machine",
            )
        case _:
            pass
    try:
        shutil.rmtree(folder.path)
    except OSError as error:
        raise CacheError(
            f"run {run_id} cannot be deleted: {error.strerror or error}",
            where=str(folder.path),
            remedy="this needs write access to its cache directory",
        ) from error


@dataclass(frozen=True)
class Row:
    """One thing in two runs; None where a run has none."""

    name: str
    a: Any
    b: Any
    share: float = 0.0
    """Part of the greater one by which numbers may differ and still count as equal."""
    least: float = 0.0
    """What they may differ by in any case."""

    @property
    def difference(self) -> float | None:
        """`b - a` of numbers."""
        return self.b - self.a if _is_number(self.a) and _is_number(self.b) else None

    @property
    def changed(self) -> bool:
        """Whether they differ by more than two runs of the same recipe do."""
        difference = self.difference
        if difference is None:
            return bool(self.a != self.b)
        allowed: float = max(self.share * max(abs(self.a), abs(self.b)), self.least)
        return abs(difference) > allowed


@dataclass(frozen=True)
class Comparison:
    """Two runs side by side; every row, changed or not."""

    a: RunSummary
    b: RunSummary
    recipe: tuple[Row, ...]
    """Settings by dotted name."""
    seconds: tuple[Row, ...]
    """Of each stage; `cached` where all of it was reused. So are the next two."""
    peak_ram: tuple[Row, ...]
    bytes: tuple[Row, ...]
    cached: tuple[Row, ...]
    """`3 of 8`, of each stage."""
    metrics: tuple[Row, ...]
    notes: tuple[str, ...] = ()
    """What could not be compared."""
    cpu_seconds: tuple[Row, ...] = ()


def compare(a: RunFolder, b: RunFolder) -> Comparison:
    """What differs between two runs: their recipes, what each stage took, what was measured."""
    notes: list[str] = []
    recipes = _recipe(a, notes), _recipe(b, notes)
    return compare_summaries((read_summary(a), read_summary(b)), None if notes else recipes, tuple(notes))


def compare_summaries(
    summaries: tuple[RunSummary, RunSummary],
    recipes: tuple[dict[str, Any], dict[str, Any]] | None,
    notes: tuple[str, ...] = (),
) -> Comparison:
    """The same of summaries that are known.

    Args:
        recipes: settings by dotted name, see `flat_recipe`; None where one is not known.
        notes: what could not be compared.
    """

    def rows(of: Callable[[StageSummary], Any], share: float = 0.0, least: float = 0.0) -> tuple[Row, ...]:
        in_a, in_b = ({stage.stage: of(stage) for stage in summary.stages} for summary in summaries)
        return _rows(in_a, in_b, share, least)

    return Comparison(
        *summaries,
        recipe=_rows(*recipes) if recipes is not None else (),
        seconds=rows(lambda stage: _unless_cached(stage, stage.seconds), share=0.1, least=1.0),
        peak_ram=rows(lambda stage: _unless_cached(stage, stage.peak_ram), share=0.05),
        bytes=rows(lambda stage: stage.bytes),
        cached=rows(lambda stage: f"{stage.cached} of {stage.items}"),
        cpu_seconds=rows(lambda stage: _unless_cached(stage, stage.cpu_seconds), share=0.1, least=1.0),
        metrics=_rows(summaries[0].metrics, summaries[1].metrics),
        notes=notes,
    )


def _rows(a: dict[str, Any], b: dict[str, Any], share: float = 0.0, least: float = 0.0) -> tuple[Row, ...]:
    return tuple(Row(name, a.get(name), b.get(name), share, least) for name in _names(a, b))


def _unless_cached(stage: StageSummary, value: float) -> float | str:
    return "cached" if stage.cached == stage.items else value


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _names(a: dict[str, Any], b: dict[str, Any]) -> list[str]:
    return list(dict.fromkeys([*a, *b]))


def _recipe(folder: RunFolder, notes: list[str]) -> dict[str, Any]:
    try:
        document = yaml.safe_load((folder.path / "recipe.yaml").read_bytes())
    except (OSError, yaml.YAMLError, ValueError, RecursionError) as error:
        why = error.strerror if isinstance(error, OSError) and error.strerror else "it is damaged"
        notes.append(f"the recipe of run {folder.id} cannot be read: {why}")
        return {}
    return flat_recipe(document)


def flat_recipe(recipe: Any) -> dict[str, Any]:
    """A recipe's settings by dotted name."""
    return dict(_flat("", recipe))


def _flat(name: str, value: Any) -> Iterator[tuple[str, Any]]:
    if isinstance(value, dict) and value:
        for key, inner in value.items():
            yield from _flat(f"{name}.{key}" if name else str(key), inner)
    elif name:
        yield name, value
