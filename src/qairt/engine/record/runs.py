"""The runs of a cache directory: list, compare, delete."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, TypeGuard

import yaml

from qairt import keys
from qairt.engine.record.folder import RunFolder, run_folders
from qairt.engine.record.summary import RunSummary, StageSummary, read_summary
from qairt.engine.record.sweeps import Sweep, sweep_of
from qairt.errors import CacheError
from qairt.files import read_regular

if TYPE_CHECKING:
    from pydantic import JsonValue

Values = Mapping[str, "JsonValue"]


def run_summaries(state_folder: Path) -> list[RunSummary]:
    """All runs of a cache directory, the newest first."""
    return [read_summary(folder) for folder in reversed(run_folders(state_folder))]


def find_folder(state_folder: Path, run_id: str) -> RunFolder:
    """The folder of one run.

    Raises:
        CacheError: there is none with that id; lists the latest ones.
    """
    folders = run_folders(state_folder)
    for folder in folders:
        if folder.id == run_id:
            return folder
    latest = ", ".join(folder.id for folder in folders[-8:])
    remedy = f"latest runs: {latest}" if folders else "nothing was run in this cache yet"
    raise CacheError(f"there is no run {run_id}", where=str(state_folder), remedy=remedy)


def delete_run(state_folder: Path, run_id: str) -> None:
    """Delete a run's events and logs; its results stay in the cache.

    Raises:
        CacheError: it is in progress, there is none with that id, or its folder cannot be deleted.
    """
    folder = find_folder(state_folder, run_id)
    match folder.liveness():
        case "running":
            raise CacheError(f"run {run_id} is still in progress", where=str(folder.path), remedy="cancel it first")
        case "unknown":
            host = folder.host()
            raise CacheError(
                f"run {run_id} may still be in progress on {host.host if host else 'another machine'}",
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
class ComparedValue:
    """One value in two runs; None if a run has none."""

    name: str
    a: JsonValue
    b: JsonValue
    share: float = 0.0
    """Numbers that differ by less than this share of the larger one count as equal."""
    least: float = 0.0
    """So do numbers that differ by less than this."""

    @property
    def difference(self) -> float | None:
        """`b - a` of numbers."""
        return self.b - self.a if _is_number(self.a) and _is_number(self.b) else None

    @property
    def ratio(self) -> float | None:
        """`b / a` of numbers; None if `a` is 0."""
        return self.b / self.a if _is_number(self.a) and _is_number(self.b) and self.a else None

    @property
    def changed(self) -> bool:
        """Whether they differ by more than two runs of the same recipe usually do."""
        if not (_is_number(self.a) and _is_number(self.b)):
            return self.a != self.b
        allowed = max(self.share * max(abs(self.a), abs(self.b)), self.least)
        return abs(self.b - self.a) > allowed


@dataclass(frozen=True)
class RunComparison:
    """Two runs side by side; every value, changed or not."""

    a: RunSummary
    b: RunSummary
    recipe: tuple[ComparedValue, ...]
    """Settings by dotted name."""
    seconds: tuple[ComparedValue, ...]
    """Of each stage; `cached` if all of it was reused. Likewise `peak_ram` and `cpu_seconds`."""
    peak_ram: tuple[ComparedValue, ...]
    bytes: tuple[ComparedValue, ...]
    cached: tuple[ComparedValue, ...]
    """`3 of 8`, of each stage."""
    metrics: tuple[ComparedValue, ...]
    notes: tuple[str, ...] = ()
    """What could not be compared."""
    cpu_seconds: tuple[ComparedValue, ...] = ()
    sweep: Sweep | None = None
    """The latest sweep that both belong to."""


def compare(a: RunFolder, b: RunFolder) -> RunComparison:
    """Compare two runs: their recipes, what each stage took, the metrics."""
    notes: list[str] = []
    recipes = _recipe(a, notes), _recipe(b, notes)
    found = compare_summaries((read_summary(a), read_summary(b)), None if notes else recipes, tuple(notes))
    return replace(found, sweep=sweep_of(a.path.parents[1], [a.id, b.id]))


def compare_summaries(
    summaries: tuple[RunSummary, RunSummary],
    recipes: tuple[Values, Values] | None,
    notes: tuple[str, ...] = (),
) -> RunComparison:
    """The same for two summaries.

    Args:
        recipes: settings by dotted name, see `flat_recipe`; None if one is not known.
        notes: what could not be compared.
    """

    def by_stage(
        value: Callable[[StageSummary], JsonValue], share: float = 0.0, least: float = 0.0
    ) -> tuple[ComparedValue, ...]:
        in_a, in_b = ({stage.stage: value(stage) for stage in summary.stages} for summary in summaries)
        return _compared(in_a, in_b, share, least)

    return RunComparison(
        *summaries,
        recipe=_compared(*recipes) if recipes is not None else (),
        seconds=by_stage(lambda stage: _unless_cached(stage, stage.seconds), share=0.1, least=1.0),
        peak_ram=by_stage(lambda stage: _unless_cached(stage, stage.peak_ram), share=0.05),
        bytes=by_stage(lambda stage: stage.bytes),
        cached=by_stage(lambda stage: f"{stage.cached} of {stage.items}"),
        cpu_seconds=by_stage(lambda stage: _unless_cached(stage, stage.cpu_seconds), share=0.1, least=1.0),
        metrics=_compared(summaries[0].metrics, summaries[1].metrics),
        notes=notes,
    )


def _compared(a: Values, b: Values, share: float = 0.0, least: float = 0.0) -> tuple[ComparedValue, ...]:
    return tuple(ComparedValue(name, a.get(name), b.get(name), share, least) for name in _names(a, b))


def _unless_cached(stage: StageSummary, value: float) -> float | str:
    return "cached" if stage.cached == stage.items else value


def _is_number(value: JsonValue) -> TypeGuard[float]:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _names(a: Values, b: Values) -> list[str]:
    return list(dict.fromkeys([*a, *b]))


def _recipe(folder: RunFolder, notes: list[str]) -> Values:
    try:
        document = yaml.safe_load(read_regular(folder.path / "recipe.yaml"))
    except (OSError, yaml.YAMLError, ValueError, RecursionError) as error:
        why = error.strerror if isinstance(error, OSError) and error.strerror else "it is damaged"
        notes.append(f"the recipe of run {folder.id} cannot be read: {why}")
        return {}
    return flat_recipe(document)


def flat_recipe(recipe: object) -> Values:
    """A recipe's settings by dotted name."""
    return dict(_flat("", recipe))


def _flat(name: str, value: object) -> Iterator[tuple[str, JsonValue]]:
    if isinstance(value, dict) and value:
        for key, inner in value.items():
            yield from _flat(f"{name}.{key}" if name else str(key), inner)
    elif name:
        yield name, keys.plain(value)
