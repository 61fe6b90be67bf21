"""Expected times, and which stage a run's time went to."""

from qairt.cli.shares import WallShares
from qairt.engine import events as ev
from qairt.engine.eta import done_of, fraction, left_of, left_seconds, wall_seconds
from qairt.engine.run_state import ItemState, RunState


def state(*items: ItemState) -> RunState:
    return RunState(items={(item.stage, item.label): item for item in items})


def test_wall_time_stages_in_turn_items_side_by_side():
    items = [("load", 4.0), *(("convert", 3.0) for _ in range(4))]
    assert wall_seconds(items, jobs=1) == 16
    assert wall_seconds(items, jobs=2) == 10
    assert wall_seconds([("a", 9.0), ("a", 1.0)], jobs=2) == 9  # never shorter than its longest item
    assert wall_seconds([], jobs=2) == 0


def test_an_item_that_says_nothing_is_judged_by_the_clock_but_never_done():
    item = ItemState("convert", "ar1", status="running", started=100.0, expected_seconds=10.0)
    assert done_of(item, 105.0) == 0.5
    assert done_of(item, 1000.0) == 0.95
    item.fraction = 0.5
    assert done_of(item, 101.0) == 0.5
    assert left_of(item, 104.0) == 4.0  # half took four seconds


def test_the_pace_of_finished_items_corrects_the_rest():
    run = state(
        ItemState("a", "x", status="done", expected_seconds=10, seconds=20),
        ItemState("b", "y", status="waiting", expected_seconds=10),
        ItemState("c", "z", status="cached", expected_seconds=1000),
    )
    assert left_seconds(run, 0.0, jobs=1) == 20
    assert fraction(run, 0.0) == 20 / 30


def test_a_run_with_nothing_to_do_is_done():
    assert fraction(state(ItemState("a", "x", status="cached")), 0.0) == 1.0
    assert left_seconds(state(), 0.0, jobs=2) == 0.0


def test_every_moment_is_divided_among_what_ran_in_it():
    def started(time: float, stage: str) -> ev.ItemStarted:
        return ev.ItemStarted(time=time, stage=stage, label="all", key="k", reason="", log="", threads=1)

    def finished(time: float, stage: str) -> ev.ItemFinished:
        return ev.ItemFinished(
            time=time, stage=stage, label="all", key="k", seconds=1, peak_rss=0, bytes=0, directory=""
        )

    shares = WallShares()
    shares.apply(ev.RunStarted(time=0, run_id="r", recipe="", cache_dir="", pid=1, jobs=2, memory=1, items=[]))
    for event in (started(1, "a"), started(2, "b"), finished(4, "a"), finished(9, "b")):
        shares.apply(event)
    shares.apply(ev.RunFinished(time=10, status="done", seconds=10, executed=2, cached=0, failed=0))
    assert dict(shares.seconds) == {"a": 2.0, "b": 6.0}
    assert shares.idle == 2.0
    assert shares.share("b") == 0.6
