"""Sweeps: a recipe with every combination of some values, and what each came to.

They are kept in `pipeline_state/sweeps.jsonl`.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from contextlib import suppress
from pathlib import Path

from pydantic import BaseModel, ConfigDict, ValidationError

from qairt.engine.record.summary import SummaryState
from qairt.errors import RecipeError
from qairt.files import append_line, read_lines

FILE = "sweeps.jsonl"
_OPEN, _CLOSE, _QUOTES = "[{(", "]})", "\"'"


class Combination(BaseModel):
    """One combination, and the run of it."""

    model_config = ConfigDict(frozen=True, ser_json_inf_nan="strings")

    values: dict[str, str]
    """By setting, as on the command line."""
    run: str = ""
    """Id of the run; empty if it could not start."""
    state: SummaryState = "unknown"
    seconds: float = 0.0
    made: int = 0
    """Items that ran."""
    cached: int = 0
    peak_ram: int = 0
    bytes: int = 0
    """Of the last stage's results."""
    scores: dict[str, float] = {}
    failure: str = ""


class Sweep(BaseModel):
    """One sweep of a recipe."""

    model_config = ConfigDict(frozen=True, ser_json_inf_nan="strings")

    sweep: int
    """Its number, from 1."""
    recipe: str
    time: float
    combinations: tuple[Combination, ...]


def axes_of(assignments: Sequence[str]) -> tuple[dict[str, list[str]], list[str]]:
    """`KEY=V1,V2` as the values of each key; an assignment of one value applies to every combination.

    Commas in brackets and quotes do not separate: `arn=[1,128],[1,64]` has two values.

    Returns:
        The values by key, and the assignments of one value.

    Raises:
        RecipeError: an assignment has no `=`, a key appears twice, an empty value, or nothing has two values.
    """
    axes: dict[str, list[str]] = {}
    fixed: list[str] = []
    for assignment in assignments:
        key, equals, text = assignment.partition("=")
        if not equals or not key.strip():
            raise RecipeError(f"{assignment} is no KEY=VALUE,VALUE", remedy="stages.split_model.num_splits=3,4")
        values = split_values(text)
        if len(values) == 1:
            fixed.append(assignment)
            continue
        if "" in values:
            raise RecipeError(f"{assignment} has an empty value", remedy="write null for no value")
        if key.strip() in axes:
            raise RecipeError(f"{key.strip()} is given twice", remedy="give all its values at once, with commas")
        if len(set(values)) < len(values):
            raise RecipeError(f"{assignment} has a value twice", remedy="leave one out")
        axes[key.strip()] = values
    if not axes:
        raise RecipeError(
            "nothing to sweep: no setting has several values",
            remedy="separate values with commas: stages.split_model.num_splits=3,4",
        )
    return axes, fixed


def split_values(text: str) -> list[str]:
    """The values in `3,4`; commas in brackets and quotes do not separate."""
    values, depth, quote = [""], 0, ""
    for character in text:
        if quote:
            quote = "" if character == quote else quote
        elif character in _QUOTES:
            quote = character
        else:
            depth += (character in _OPEN) - (character in _CLOSE)
        if character == "," and depth <= 0 and not quote:
            values.append("")
        else:
            values[-1] += character
    return [value.strip() for value in values]


def combinations(axes: dict[str, list[str]]) -> Iterator[dict[str, str]]:
    """Every combination, the last axis fastest: what the first stages share is built once."""
    for values in itertools.product(*axes.values()):
        yield dict(zip(axes, values, strict=True))


def sweeps(state_folder: Path) -> list[Sweep]:
    """All sweeps of a cache directory, the oldest first; damaged lines are skipped."""
    found = []
    for line in read_lines(state_folder / FILE):
        with suppress(ValidationError):
            found.append(Sweep.model_validate(line))
    return found


def sweep_of(state_folder: Path, runs: Sequence[str]) -> Sweep | None:
    """The latest sweep that has all of these runs."""
    for sweep in reversed(sweeps(state_folder)):
        if set(runs) <= {each.run for each in sweep.combinations}:
            return sweep
    return None


def add_sweep(state_folder: Path, sweep: Sweep) -> None:
    """
    Raises:
        OSError: the file cannot be written.
    """
    append_line(state_folder / FILE, sweep.model_dump(mode="json"))


def sweep_table(sweep: Sweep) -> tuple[list[str], list[list[str]]]:
    """Titles and rows: the values that differ, then what each combination came to."""
    from qairt.amounts import duration, size

    keys = list(dict.fromkeys(key for each in sweep.combinations for key in each.values))
    scores = list(dict.fromkeys(name for each in sweep.combinations for name in each.scores))
    titles = [*_short_names(keys), "run", "state", "built", "cached", "time", "peak RAM", "size", *scores]
    rows = []
    for each in sweep.combinations:
        rows.append(
            [
                *(each.values.get(key, "-") for key in keys),
                each.run or "-",
                each.state if each.run else "not run",
                str(each.made),
                str(each.cached),
                duration(each.seconds) if each.seconds else "-",
                size(each.peak_ram) if each.peak_ram else "-",
                size(each.bytes) if each.bytes else "-",
                *(f"{each.scores[name]:.4g}" if name in each.scores else "-" for name in scores),
            ]
        )
    return titles, rows


def _short_names(keys: Sequence[str]) -> list[str]:
    """The last words of dotted names, as many as tell them apart."""
    names = []
    for key in keys:
        words = key.split(".")
        taken = next(
            n
            for n in range(1, len(words) + 1)
            if n == len(words) or sum(other.split(".")[-n:] == words[-n:] for other in keys) == 1
        )
        names.append(".".join(words[-taken:]))
    return names
