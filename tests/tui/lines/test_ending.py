"""The page at the end of a run says what can be done next, and only that."""

from __future__ import annotations

from pathlib import Path

import pytest

from qairt.engine.record.state import RunState
from qairt.engine.run.ending import Ending, Made
from qairt.tui.lines.ending import ending_lines
from qairt.tui.terminal.glyphs import Look

NOTHING = Ending(made=(), seconds_saved=0.0, bytes_written=0, warnings=())
RESULTS = Ending(
    made=(Made(name="join", folder=Path("/c/join"), files=(), count=1, bytes=1),),
    seconds_saved=0.0,
    bytes_written=0,
    warnings=(),
)


def following(status: str, ending: Ending, look: Look) -> list[str]:
    _, right = ending_lines(RunState(status=status), ending, (), look, 80)  # type: ignore[arg-type]
    texts = [line.plain for line in right]
    return texts[texts.index("Next") + 1 :]


def test_a_run_that_could_not_begin_says_why_and_offers_nothing_to_do_with_results() -> None:
    state = RunState(status="failed", error="/c: no space left on device\n  free space on that disk")
    left, right = ([line.plain.strip() for line in column] for column in ending_lines(state, NOTHING, (), Look(), 80))
    assert left[2:4] == ["/c: no space left on device", "free space on that disk"]
    assert [line.split()[0] for line in right[right.index("Next") + 1 :]] == ["⏎", "r"]


@pytest.mark.parametrize(("status", "what"), [("failed", "failed"), ("interrupted", "was interrupted")])
def test_a_run_that_did_not_finish_is_run_again_first(status: str, what: str) -> None:
    lines = following(status, NOTHING, Look())
    assert lines[0] == f"  ⏎    stages    see what {what}; there r runs it again"
    assert [line.split()[0] for line in lines] == ["⏎", "g", "e", "v", "r"], "there is nothing to export"
    assert [line.split()[0] for line in following(status, RESULTS, Look())] == ["⏎", "g", "e", "v", "r", "x"]
    assert following(status, NOTHING, Look(ascii=True))[0].startswith("  enter stages    see what")


def test_after_a_finished_run_there_is_nothing_to_run_again() -> None:
    assert [line.split()[0] for line in following("done", RESULTS, Look())] == ["g", "e", "v", "r", "x"]
