"""Stages and their rows: what stands for several items, what is open, the bar."""

from __future__ import annotations

import pytest

from qairt.engine.record import events as ev
from qairt.engine.record.state import RunState
from qairt.tui.lines.matrix import matrix_rows
from qairt.tui.lines.stage_rows import StageGroup, cells_of_bar, shown_rows, stage_groups


def entry(stage: str, *coord: tuple[str, int], seconds: float = 60.0) -> ev.PlannedEntry:
    label = "-".join(f"{axis}{value}" for axis, value in coord) or "all"
    return ev.PlannedEntry(
        stage=stage, label=label, coord=coord, key="k", cached=False, reason="", seconds=seconds, from_history=True
    )


def grouped(state: RunState) -> tuple[StageGroup, ...]:
    return stage_groups(matrix_rows(state, 0), 0, 1)


def test_rows_stand_under_their_stage_ar_first_then_cl() -> None:
    items = [
        entry("convert", ("cl", cl), ("ar", ar), ("split", part))
        for cl in (4096, 512)
        for ar in (128, 1)
        for part in (1, 2)
    ]
    (group,) = grouped(RunState.of_plan(items))
    assert group.head.name == "convert"
    assert [row.name for row in group.parts] == ["AR 1  CL 512", "AR 1  CL 4096", "AR 128  CL 512", "AR 128  CL 4096"]
    assert (group.head.done, group.head.total, group.head.left) == (0, 8, "~8m00")


def test_a_stage_with_one_row_has_none_under_it() -> None:
    groups = grouped(RunState.of_plan([entry("export"), entry("convert", ("ar", 1), ("split", 1))]))
    assert [(group.head.name, group.parts) for group in groups] == [("export", ()), ("convert AR 1", ())]


def test_a_stage_sums_up_its_rows() -> None:
    state = RunState.of_plan([entry("convert", ("ar", ar), ("split", part)) for ar in (1, 128) for part in (1, 2)])
    first, second, third, last = state.items.values()
    first.status, first.seconds = "done", 40.0
    second.status, second.seconds = "cached", 99.0
    third.status, third.seconds = "failed", 5.0
    last.status = "running"
    (group,) = grouped(state)
    assert (group.head.done, group.head.total, group.head.time, group.head.left) == (2, 4, "45s", "1 failed")
    assert [cell and cell.status for cell in group.head.cells] == ["failed", "running"]
    assert [cell and cell.key[1] for cell in group.head.cells] == ["ar128-split1", "ar128-split2"]
    assert group.head.bar == (("cached", 1), ("done", 1), ("running", 1), ("failed", 1))
    assert group.head.most_urgent == 0


def test_stages_that_did_not_change_are_the_same_objects() -> None:
    state = RunState.of_plan([entry("a", ("ar", 1)), entry("a", ("ar", 2)), entry("b")])
    matrix = matrix_rows(state, 0)
    before = stage_groups(matrix, 0, 1)
    state.items["b", "all"].status = "done"
    after = stage_groups(matrix_rows(state, 1, matrix), 1, 1, before)
    assert [old is new for old, new in zip(before, after, strict=True)] == [True, False]


def test_what_the_user_chose_wins_over_the_room() -> None:
    groups = grouped(RunState.of_plan([entry(stage, ("ar", ar)) for stage in "ab" for ar in (1, 2)]))
    assert [row.kind for row in shown_rows(groups, {}, 2)] == ["folded", "folded"]
    assert [row.kind for row in shown_rows(groups, {}, 4)] == ["open", "part", "part", "folded"]
    assert [row.kind for row in shown_rows(groups, {"b": True}, 2)] == ["folded", "open", "part", "part"]
    assert [row.kind for row in shown_rows(groups, {"a": False}, 99)] == ["folded", "open", "part", "part"]


@pytest.mark.parametrize(
    ("bar", "total", "width", "shares"),
    [
        ((), 4, 8, []),
        ((("done", 4),), 4, 8, [("done", 8)]),
        ((("cached", 1), ("running", 1)), 4, 8, [("cached", 2), ("running", 2)]),
        ((("done", 1), ("failed", 1)), 1000, 5, [("done", 1), ("failed", 1)]),
        ((("cached", 1000), ("running", 1)), 1001, 5, [("cached", 4), ("running", 1)]),
        ((("done", 1),), 0, 5, []),
    ],
)
def test_the_bar_shows_every_part(bar: object, total: int, width: int, shares: object) -> None:
    assert cells_of_bar(bar, total, width) == shares  # type: ignore[arg-type]
