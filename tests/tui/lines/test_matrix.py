"""Rows and cells of the stage matrix."""

from __future__ import annotations

import pytest
from ratio import ratio

from qairt.engine.record import events as ev
from qairt.engine.record.state import RunState
from qairt.tui.lines.matrix import Matrix, MatrixRow, clock, matrix_rows


def entry(stage: str, coord: tuple[tuple[str, int], ...] = (), **changes: object) -> ev.PlannedEntry:
    label = "-".join(f"{axis}{value}" for axis, value in coord) or "all"
    fields = {"key": f"{stage}-{label}", "cached": False, "reason": "", "seconds": 60.0, "from_history": True}
    return ev.PlannedEntry.model_validate({"stage": stage, "label": label, "coord": coord} | fields | changes)


def a_plan(splits: int = 3, ars: tuple[int, ...] = (1, 128)) -> list[ev.PlannedEntry]:
    parts = range(1, splits + 1)
    return [
        entry("model_loading", cached=True),
        *(entry("prepare_exports", (("ar", ar),)) for ar in ars),
        *(entry("convert", (("ar", ar), ("split", part))) for ar in ars for part in parts),
        *(entry("generate_context_binary", (("split", part),)) for part in parts),
        entry("export_bundle"),
    ]


def started(plan: list[ev.PlannedEntry], jobs: int = 2) -> RunState:
    state = RunState()
    state.apply(ev.RunStarted(time=0, run_id="r", recipe="", cache_dir="", pid=1, jobs=jobs, memory=10**9, items=plan))
    return state


def start(state: RunState, stage: str, label: str, at: float) -> None:
    state.apply(ev.ItemStarted(time=at, stage=stage, label=label, key="", reason="", log="", threads=1))


def finish(state: RunState, stage: str, label: str, at: float, seconds: float) -> None:
    state.apply(
        ev.ItemFinished(time=at, stage=stage, label=label, key="", seconds=seconds, peak_rss=1, bytes=1, directory="")
    )


def row(matrix: Matrix, stage: str, place: str = "") -> MatrixRow:
    return next(each for each in matrix.rows if each.id == (stage, place))


def test_a_row_for_each_stage_and_ar_and_a_column_for_each_split() -> None:
    matrix = matrix_rows(RunState.of_plan(a_plan()), 0)
    assert matrix.columns == (1, 2, 3)
    assert matrix.axes == "AR"
    assert [each.id for each in matrix.rows] == [
        ("model_loading", ""),
        ("prepare_exports", "1"),
        ("prepare_exports", "128"),
        ("convert", "1"),
        ("convert", "128"),
        ("generate_context_binary", ""),
        ("export_bundle", ""),
    ]
    assert row(matrix, "convert", "128").keys == [("convert", f"ar128-split{part}") for part in (1, 2, 3)]
    whole = row(matrix, "export_bundle")
    assert whole.cells[0] is not None
    assert whole.cells[1:] == (None, None)


def test_context_lengths_are_named_only_where_there_are_several() -> None:
    one = [entry("convert", (("cl", 4096), ("ar", ar), ("split", 1))) for ar in (1, 128)]
    assert [each.place for each in matrix_rows(RunState.of_plan(one), 0).rows] == ["1", "128"]
    two = [*one, entry("convert", (("cl", 512), ("ar", 1), ("split", 1))), entry("export", (("cl", 512),))]
    matrix = matrix_rows(RunState.of_plan(two), 0)
    assert matrix.axes == "CL/AR"
    assert [each.place for each in matrix.rows] == ["4096/1", "4096/128", "512/1", "512/-"]


def test_an_item_the_plan_does_not_know_has_a_row_of_its_own() -> None:
    state = started([entry("convert", (("ar", 1), ("split", 1)))])
    start(state, "convert", "ar1-split9", 1)
    assert [each.place for each in matrix_rows(state, 1).rows] == ["1", "ar1-split9"]


def test_without_splits_there_is_one_column() -> None:
    matrix = matrix_rows(RunState.of_plan([entry("model_loading"), entry("export_bundle")]), 0)
    assert (matrix.columns, matrix.width, matrix.axes) == ((), 1, "")


def test_percent_is_the_tools_or_else_by_the_clock() -> None:
    state = started(a_plan())
    start(state, "convert", "ar1-split1", 100)
    start(state, "convert", "ar1-split2", 100)
    state.apply(ev.ItemProgress(time=110, stage="convert", label="ar1-split1", fraction=0.625))
    cells = row(matrix_rows(state, 130), "convert", "1").cells
    assert [cell and cell.percent for cell in cells] == ["62%", "~50%", ""]
    late = row(matrix_rows(state, 9999), "convert", "1").cells[1]
    assert late is not None
    assert late.percent == "~95%"
    state.apply(ev.ItemProgress(time=110, stage="convert", label="ar1-split1", fraction=1.0))
    full = row(matrix_rows(state, 130), "convert", "1").cells[0]
    assert full is not None
    assert full.percent == "99%"


def test_sums_of_a_row() -> None:
    state = started(a_plan(), jobs=1)
    assert row(matrix_rows(state, 0), "convert", "1").left == "~3m00"
    finish(state, "convert", "ar1-split1", 45, 45.0)
    finish(state, "convert", "ar1-split2", 90, 40.0)
    done = row(matrix_rows(state, 90), "convert", "1")
    assert (done.done, done.total, done.time, done.left) == (2, 3, "1m25", "~1m00")
    finish(state, "convert", "ar1-split3", 120, 30.0)
    assert row(matrix_rows(state, 120), "convert", "1").left == ""


def test_what_stands_where_the_time_left_would() -> None:
    state = RunState.of_plan([entry("a", cached=True), entry("b", stale=True), entry("c")])
    assert [each.left for each in matrix_rows(state, 0).rows] == ["cached", "stale", "~1m00"]
    state.items["c", "all"].status = "failed"
    state.items["b", "all"].status = "blocked"
    assert [each.left for each in matrix_rows(state, 0).rows] == ["cached", "blocked", "1 failed"]


def test_rows_that_did_not_change_are_the_same_objects() -> None:
    state = started(a_plan())
    start(state, "convert", "ar1-split1", 0)
    before = matrix_rows(state, 1)
    after = matrix_rows(state, 7, before)
    same = [old is new for old, new in zip(before.rows, after.rows, strict=True)]
    assert same == [each.id != ("convert", "1") for each in before.rows]
    other = matrix_rows(started(a_plan(splits=5)), 7, after)
    assert other.columns == (1, 2, 3, 4, 5)


def test_control_characters_in_names_are_left_out() -> None:
    matrix = matrix_rows(RunState.of_plan([entry("con\x1b[31mvert[red]")]), 0)
    assert matrix.rows[0].name == "con[31mvert[red]"


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0.04, "0.0s"),
        (9.94, "9.9s"),
        (9.96, "10s"),
        (59.6, "1m00"),
        (2257, "37m37"),
        (3599.7, "1h00m"),
        (3900, "1h05m"),
    ],
)
def test_clock(seconds: float, text: str) -> None:
    assert clock(seconds) == text


def test_a_row_that_did_not_change_costs_little() -> None:
    state = started(a_plan(splits=24, ars=(1, 2, 4, 8, 16, 32)))
    for part in range(1, 9):
        start(state, "convert", f"ar1-split{part}", 0)
    matrix = matrix_rows(state, 0)
    assert ratio(lambda: matrix_rows(state, 1, matrix), lambda: matrix_rows(state, 1)) < 0.7


def test_a_concurrency_is_called_by_its_name() -> None:
    named = [entry("lora_adapters", (("concurrency", place),), label=name) for place, name in enumerate(("base", "fr"))]
    matrix = matrix_rows(RunState.of_plan([*a_plan(), *named]), 0)
    assert matrix.axes == "AR"
    assert [each.id for each in matrix.rows if each.stage == "lora_adapters"] == [
        ("lora_adapters", "base"),
        ("lora_adapters", "fr"),
    ]
