"""Sweeps: values, combinations, what is kept of them."""

from __future__ import annotations

from pathlib import Path

import pytest

from qairt.engine.record.sweeps import (
    FILE,
    Combination,
    Sweep,
    add_sweep,
    axes_of,
    combinations,
    split_values,
    sweep_of,
    sweep_table,
    sweeps,
)
from qairt.errors import RecipeError


@pytest.mark.parametrize(
    ("text", "values"),
    [
        ("3,4", ["3", "4"]),
        ("[1,128],[1,64]", ["[1,128]", "[1,64]"]),
        ("{a: [1, 2], b: 3}, null", ["{a: [1, 2], b: 3}", "null"]),
        ("'a,b',\"c,d\"", ["'a,b'", '"c,d"']),
        ("one", ["one"]),
        ("a,,b", ["a", "", "b"]),
    ],
)
def test_commas_separate_values(text: str, values: list[str]) -> None:
    assert split_values(text) == values


def test_every_combination_the_last_axis_fastest() -> None:
    axes, fixed = axes_of(["a.x=1,2", "b=9", "c=p,q"])
    assert fixed == ["b=9"]
    assert list(combinations(axes)) == [
        {"a.x": "1", "c": "p"},
        {"a.x": "1", "c": "q"},
        {"a.x": "2", "c": "p"},
        {"a.x": "2", "c": "q"},
    ]


@pytest.mark.parametrize(
    ("assignments", "message", "remedy"),
    [
        (["a"], "a is no KEY=VALUE,VALUE", "stages.split_model.num_splits=3,4"),
        (["a=1,,2"], "a=1,,2 has an empty value", "write null for no value"),
        (["a=1,2", "a=3,4"], "a is given twice", "give all its values at once, with commas"),
        (["a=1,1"], "a=1,1 has a value twice", "leave one out"),
        (
            ["a=1"],
            "nothing to sweep: no setting has several values",
            "separate values with commas: stages.split_model.num_splits=3,4",
        ),
    ],
)
def test_what_is_no_sweep(assignments: list[str], message: str, remedy: str) -> None:
    with pytest.raises(RecipeError) as error:
        axes_of(assignments)
    assert (error.value.what, error.value.remedy) == (message, remedy)


def a_sweep(number: int, *runs: str) -> Sweep:
    return Sweep(
        sweep=number,
        recipe="r.yaml",
        time=1.0,
        combinations=tuple(
            Combination(
                values={"stages.a.n": str(place), "stages.b.n": "x"}, run=run, state="done", scores={"ppl": 17.5}
            )
            for place, run in enumerate(runs)
        ),
    )


def test_the_latest_sweep_of_some_runs(tmp_path: Path) -> None:
    assert sweeps(tmp_path) == []
    for number, runs in enumerate((["0001", "0002"], ["0002", "0003"]), 1):
        add_sweep(tmp_path, a_sweep(number, *runs))
    with (tmp_path / FILE).open("a") as file:
        file.write("damaged\n")
    assert [each.sweep for each in sweeps(tmp_path)] == [1, 2]
    found = sweep_of(tmp_path, ["0002"])
    assert found is not None
    assert found.sweep == 2
    assert sweep_of(tmp_path, ["0001", "0003"]) is None


def test_the_table_names_settings_by_the_words_that_tell_them_apart() -> None:
    titles, rows = sweep_table(a_sweep(1, "0001", ""))
    assert titles == ["a.n", "b.n", "run", "state", "built", "cached", "time", "peak RAM", "size", "ppl"]
    assert rows[0] == ["0", "x", "0001", "done", "0", "0", "-", "-", "-", "17.5"]
    assert rows[1][2:4] == ["-", "not run"]
