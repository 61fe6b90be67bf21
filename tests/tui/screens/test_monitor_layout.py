"""Heights of the monitor's panes."""

from __future__ import annotations

import pytest

from qairt.tui.screens.monitor_layout import Heights, heights, room_for_rows


@pytest.mark.parametrize(
    ("height", "wanted", "framed", "wide", "found"),
    [
        (20, 12, False, False, Heights(12)),
        (20, 40, False, False, Heights(17)),
        (27, 12, True, False, Heights(14, 6)),
        (33, 12, True, False, Heights(14, 8)),
        (60, 12, True, False, Heights(14, 12)),
        (33, 50, True, False, Heights(23, 6)),
        (47, 12, True, True, Heights(15)),
        (47, 99, True, True, Heights(37)),
        (2, 12, False, False, Heights(2)),
    ],
)
def test_stages_come_first(height: int, wanted: int, framed: bool, wide: bool, found: Heights) -> None:
    assert heights(height, wanted, framed=framed, wide=wide) == found


def test_without_samples_the_graphs_leave_their_lines() -> None:
    assert heights(27, 12, framed=True, wide=False, graphs=False) == Heights(14)


@pytest.mark.parametrize("height", range(1, 70))
@pytest.mark.parametrize("wide", [False, True])
def test_the_log_keeps_its_lines(height: int, wide: bool) -> None:
    framed = height >= 26
    found = heights(height, room_for_rows(height, framed=framed, wide=wide) + 1, framed=framed, wide=wide)
    assert not framed or height - found.stages - found.graphs >= 4
