"""How high the monitor's panes are: every stage first, then graphs and log with what is left. No Textual here."""

from __future__ import annotations

from dataclasses import dataclass

FRAME = 2
"""Lines of a pane's border."""
_HEADING = 1
_MIN_LOG, _MIN_GRAPHS, _MAX_GRAPHS = 3, 6, 12
_MIN_BESIDE = 10
"""Lines kept below the stages for log and detail in a wide window."""


@dataclass(frozen=True)
class Heights:
    """Lines of each pane, with its border; the log takes the rest."""

    stages: int
    graphs: int = 0
    """0 where they stand beside the stages, or on one line."""


def room_for_rows(height: int, *, framed: bool, wide: bool) -> int:
    """Rows of stages that fit above the least that log and graphs need.

    Args:
        height: lines of all panes together.
        framed: panes have borders.
        wide: graphs and detail stand beside stages and log.
    """
    if not framed:
        return max(height - _MIN_LOG - _HEADING, 1)
    kept = _MIN_BESIDE if wide else _MIN_GRAPHS + _MIN_LOG + 1
    return max(height - kept - FRAME - _HEADING, 1)


def heights(height: int, wanted: int, *, framed: bool, wide: bool, graphs: bool = True) -> Heights:
    """
    Args:
        wanted: lines that all rows of the stages and their heading take.
        graphs: whether there is anything to draw in them.
    """
    most = room_for_rows(height, framed=framed, wide=wide) + _HEADING
    stages = min(wanted, most)
    if not framed:
        return Heights(stages)
    stages += FRAME
    if wide:
        return Heights(max(stages, height // 3))
    if not graphs:
        return Heights(stages)
    left = height - stages
    return Heights(stages, min(max(left * 9 // 20, _MIN_GRAPHS), _MAX_GRAPHS))
