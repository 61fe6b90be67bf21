"""Expected times, and which stage a run's time went to."""

from __future__ import annotations

import random

import eta_scores
import pytest
from eta_replay import learned, run, works
from ratio import ratio
from recorded_runs import entries

from qairt.cli.watch.wall_time_by_stage import WallTimeByStage
from qairt.engine.record import events as ev
from qairt.engine.record.eta import (
    Eta,
    SmoothEta,
    done_of,
    in_words,
    is_blended,
    is_overdue,
    left_of,
    remaining,
    wall_seconds,
)
from qairt.engine.record.item_state import ItemState
from qairt.engine.record.state import RunState


def state(*items: ItemState, **fields: object) -> RunState:
    return RunState(items={(item.stage, item.label): item for item in items}, **fields)


def waiting(name: str, seconds: float, *sources: str, samples: int = 5, ram: int = 0) -> ItemState:
    return ItemState(
        name, "x", sources=tuple(f"{source} x" for source in sources), expected_seconds=seconds,
        expected_low=0.8 * seconds, expected_high=1.2 * seconds, samples=samples, expected_ram=ram,
    )  # fmt: skip


def running(name: str, seconds: float, started: float, *sources: str, samples: int = 5) -> ItemState:
    item = waiting(name, seconds, *sources, samples=samples)
    item.status, item.started = "running", started
    return item


def done(name: str, expected: float, seconds: float, samples: int = 5) -> ItemState:
    item = waiting(name, expected, samples=samples)
    item.status, item.seconds = "done", seconds
    return item


# What is left of a run


def test_items_side_by_side_are_not_added_up():
    items = [waiting("a", 10), waiting("b", 10), waiting("c", 10), waiting("d", 10)]
    assert remaining(state(*items), 0.0, jobs=1).seconds == 40
    assert remaining(state(*items), 0.0, jobs=2).seconds == 20
    assert remaining(state(*items, jobs=4), 0.0).seconds == 10


def test_workers_that_come_make_it_shorter():
    items = [waiting(name, 10, ram=100) for name in "abcd"]
    found = state(*items, jobs=1, memory=120)
    assert remaining(found, 0.0).seconds == 40
    found.apply(ev.WorkersChanged(time=0.0, workers=2, jobs=4, memory=480))
    assert remaining(found, 0.0).seconds == 10
    found.apply(ev.WorkersChanged(time=0.0, workers=1, jobs=4, memory=240))
    assert remaining(found, 0.0).seconds == 20


def test_an_item_waits_for_what_it_is_made_from():
    items = [waiting("a", 10), waiting("b", 10, "a"), waiting("c", 10, "b"), waiting("d", 10)]
    assert remaining(state(*items), 0.0, jobs=4).seconds == 30


def test_items_that_do_not_fit_in_memory_together_run_one_after_another():
    items = [waiting("a", 10, ram=6), waiting("b", 10, ram=6), waiting("c", 10, ram=3)]
    assert remaining(state(*items), 0.0, jobs=3, memory=10).seconds == 20
    assert remaining(state(*items), 0.0, jobs=3, memory=5).seconds == 30  # one always runs
    assert remaining(state(*items), 0.0, jobs=3, memory=0).seconds == 10  # no limit


def test_what_the_most_depends_on_goes_first():
    items = [waiting("short", 10), waiting("long", 10), waiting("after", 30, "long")]
    assert remaining(state(*items), 0.0, jobs=1).seconds == 50
    assert remaining(state(*items), 0.0, jobs=2).seconds == 40


def test_made_and_unmade_items_take_nothing():
    items = [waiting("a", 10), waiting("b", 1000), waiting("c", 1000, "d"), waiting("d", 1000), waiting("e", 1000)]
    for item, status in zip(items[1:], ("cached", "blocked", "failed", "cancelled"), strict=True):
        item.status = status
    assert remaining(state(*items), 0.0).seconds == 10
    assert remaining(state(), 0.0) == Eta(0.0, 0.0, 0.0, known=True)


def test_an_item_whose_source_failed_is_not_waited_for():
    failed = waiting("a", 10)
    failed.status = "failed"
    assert remaining(state(failed, waiting("b", 10, "c"), running("c", 10, 0.0)), 5.0).seconds == 15


@pytest.mark.parametrize("status", ["running", "quiet"])
def test_of_a_running_item_the_rest_counts(status):
    item = running("a", 100, 50.0)
    item.status = status
    assert remaining(state(item, waiting("b", 10, "a")), 80.0).seconds == 80


def test_an_overdue_item_has_more_left_the_longer_it_takes():
    item = ItemState("a", "x", status="running", started=0.0, expected_seconds=100.0, samples=5)
    left = [left_of(item, float(now)) for now in range(0, 1000, 10)]
    assert all(seconds > 0 for seconds in left)
    assert left[:5] == [100, 90, 80, 70, 60]
    assert left[20:] == sorted(left[20:])
    assert left_of(item, 1000.0) == 300
    assert left_of(item, -5.0) == 100  # a clock that was set back


def test_what_a_tool_says_counts_for_more_the_further_it_is():
    item = running("a", 100, 0.0)
    item.fraction = 0.05
    assert left_of(item, 40.0) == 60  # too early to say
    item.fraction = 0.5
    assert left_of(item, 40.0) == 0.5 * 40 + 0.5 * 60
    item.fraction = 1.0
    assert left_of(item, 40.0) == 0
    guessed = running("a", 100, 0.0, samples=0)
    guessed.fraction = 0.5
    assert left_of(guessed, 40.0) == 40


def test_the_pace_of_this_run_corrects_the_rest():
    def left(*made: ItemState) -> float:
        return remaining(state(*made, waiting("z", 100)), 0.0).seconds

    assert left() == 100
    assert 150 < left(done("a", 100, 200)) < 200
    assert 50 < left(done("a", 100, 50)) < 60
    assert 100 < left(done("a", 1, 2)) < 120  # little was seen yet


def test_a_stage_has_a_pace_of_its_own():
    slow = [ItemState("slow", str(n), status="done", expected_seconds=10, seconds=40, samples=5) for n in range(4)]
    even = [ItemState("even", str(n), status="done", expected_seconds=10, seconds=10, samples=5) for n in range(4)]
    more = [ItemState(name, "more", expected_seconds=10, samples=5) for name in ("slow", "even")]
    one, other = (remaining(state(*slow, *even, item), 0.0).seconds for item in more)
    assert one > 2 * other


def test_an_item_that_is_overdue_tells_of_the_pace_before_it_ends():
    assert remaining(state(running("a", 10, 0.0), waiting("b", 100, "a")), 30.0).seconds > 150


def test_a_wrong_guess_does_not_spoil_what_history_tells():
    items = [done("a", 1, 50, samples=0), waiting("b", 100), waiting("c", 100, samples=0)]
    assert 100 <= remaining(state(*items[:2]), 0.0).seconds < 110
    assert 100 < remaining(state(items[0], items[2]), 0.0).seconds < 400  # one short stage tells little of another
    assert 150 < remaining(state(done("a", 100, 300, samples=0), items[2]), 0.0).seconds < 300


# How sure that is


def test_the_range_lies_around_it_and_evens_out():
    one = remaining(state(waiting("a", 100)), 0.0)
    assert one.low < one.seconds < one.high
    many = [
        ItemState("a", str(number), expected_seconds=10, expected_low=8, expected_high=12, samples=5)
        for number in range(10)
    ]
    ten = remaining(state(*many), 0.0)
    assert ten.seconds == one.seconds
    assert one.low < ten.low < ten.high < one.high


def test_the_range_of_a_run_that_was_never_made_is_wide_and_shrinks_as_its_items_end():
    def width(*items: ItemState) -> float:
        eta = remaining(state(*items), 0.0)
        assert eta.low < eta.seconds < eta.high
        return eta.high / eta.low

    new = [waiting("a", 10, samples=0), waiting("b", 100, samples=0)]
    assert 2.5 < width(*new) <= 5.0
    one = width(done("b", 100, 130, samples=0), ItemState("b", "more", expected_seconds=100))
    many = [ItemState("b", str(n), status="done", expected_seconds=10, seconds=13) for n in range(9)]
    assert width(*many, ItemState("b", "more", expected_seconds=100)) < one < width(*new)


def test_what_takes_longer_than_estimated_is_said_to_and_its_range_grows():
    item = waiting("a", 38)
    item.status, item.started = "running", 0.0
    assert not is_overdue(item, 46.0)  # within the range of earlier runs
    assert is_overdue(item, 47.0)
    early, late = (remaining(state(item), now) for now in (60.0, 221.0))
    assert early.low == late.low == 0.0
    assert late.high > early.high > 60.0
    item.status = "done"
    assert not is_overdue(item, 221.0)


def test_it_is_known_where_earlier_runs_or_this_one_tell_of_every_stage():
    assert remaining(state(waiting("a", 1), waiting("b", 1, samples=1)), 0.0).known
    assert not remaining(state(waiting("a", 1), waiting("b", 1, samples=0)), 0.0).known
    finished = ItemState("a", "other", status="done", expected_seconds=1, seconds=1)
    assert remaining(state(finished, waiting("a", 1, samples=0)), 0.0).known
    assert remaining(state(waiting("a", 1)), 0.0).basis == "from earlier runs"
    assert remaining(state(waiting("a", 1, samples=0)), 0.0).basis == "estimated"


def test_a_pause_does_not_count():
    items = [done("a", 100, 100), waiting("b", 50)]
    for now in (100.0, 5000.0):
        assert remaining(state(*items, paused=True), now) == remaining(state(*items), 100.0)


def test_thirty_replayed_runs_end_within_the_range_four_times_of_five():
    """Two in three are first runs, most of them real; `python -m eta_scores` prints the table."""
    found = eta_scores.groups()
    every = [score for scores in found.values() for score in scores]
    assert len(every) == 30 * len(eta_scores.MOMENTS)
    assert eta_scores.median_error(every) <= 0.3
    assert 0.75 <= eta_scores.coverage(every) <= 0.9
    for name in ("4 simulated, one earlier run", "4 simulated, three earlier runs"):
        assert eta_scores.median_error(found[name]) <= 0.1


@pytest.mark.parametrize("pace", [0.4, 1.0, 1.8, 4.0])
def test_after_three_runs_it_is_right_to_a_quarter(tmp_path, pace):
    """Criterion A18, on machines of several paces, of which one folder keeps the history."""
    wrong, within = [], 0
    for seed in range(6):
        chance = random.Random(f"{pace} {seed}")
        history = learned(tmp_path / str(seed))
        for _ in range(3):
            list(run(works(), history, chance, pace=1.0, host="another"))
            list(run(works(), history, chance, pace=pace, host="box7"))
        events = list(run(works(), learned(tmp_path / str(seed)), chance, pace=pace, host="box7"))
        now = 0.3 * events[-1].time
        replayed = RunState()
        for event in events:
            if event.time <= now:
                replayed.apply(event)
        eta, left = remaining(replayed, now), events[-1].time - now
        wrong.append(abs(eta.seconds - left) / left)
        within += eta.low <= left <= eta.high
        assert eta.known
    assert max(wrong) <= 0.25, wrong
    assert within >= 4


def test_its_time_grows_with_the_items_and_no_faster():
    def state_of(stages: int) -> RunState:
        return RunState.of_plan(
            [entry.model_copy(update={"samples": 4, "peak_ram": 10**9}) for entry in entries(stages)]
        )

    few, many = state_of(40), state_of(400)
    assert len(many.items) == 800
    assert remaining(many, 0.0, jobs=4, memory=3 * 10**9).seconds > 0
    assert ratio(*(lambda state=state: remaining(state, 0.0, jobs=4, memory=3 * 10**9) for state in (many, few))) < 25


# What is shown of it


def test_for_five_seconds_a_shown_eta_only_counts_down():
    item = running("a", 100, 0.0)
    run_state, shown = state(item, status="running"), SmoothEta()
    first = shown.at(run_state, 10.0)
    assert first.seconds == 90
    item.fraction = 0.99
    assert shown.at(run_state, 12.0).seconds == 88
    assert shown.at(run_state, 14.9).seconds == pytest.approx(85.1)
    assert shown.at(run_state, 14.9).high == pytest.approx(first.high - 4.9)
    assert shown.at(run_state, 15.0).seconds < 5
    assert all(shown.at(run_state, 15.0 + second / 10).seconds >= 0 for second in range(40))


def test_a_short_estimate_does_not_count_down_to_nothing_while_its_item_runs():
    run_state, shown = state(running("a", 2, 0.0), status="running"), SmoothEta()
    assert shown.at(run_state, 0.0).seconds == 2
    assert all(shown.at(run_state, tenth / 10).seconds > 0.1 for tenth in range(200))


def test_a_paused_run_counts_nothing_down():
    run_state, shown = state(waiting("a", 100), status="running", paused=True), SmoothEta()
    assert [shown.at(run_state, now).seconds for now in (0.0, 3.0, 60.0)] == [100, 100, 100]
    run_state.paused = False
    assert [shown.at(run_state, now).seconds for now in (61.0, 63.0)] == [100, 98]


def test_another_run_is_looked_at_anew():
    shown = SmoothEta()
    assert shown.at(state(waiting("a", 100), run_id="0001"), 1.0).seconds == 100
    assert shown.at(state(waiting("a", 7), run_id="0002"), 1.5).seconds == 7


@pytest.mark.parametrize(
    ("eta", "words"),
    [
        (Eta(1260, 900, 2100, known=False), "about 21 min (15–35)"),
        (Eta(42.4, 30, 60, known=True), "about 42 s (30–60)"),
        (Eta(239.4, 160, 640, known=True), "about 239 s (160–640)"),
        (Eta(239.6, 180, 600, known=True), "about 4 min (3–10)"),
        (Eta(7500, 5400, 10800, known=True), "about 2.1 h (1.5–3.0)"),
        (Eta(5_000_000, 5_000_000, 5_000_000, known=True), "about 1,388.9 h"),
        (Eta(1.34, 0.9, 2.2, known=True), "about 1.3 s (0.9–2.2)"),
        (Eta(0.01, 0.01, 0.02, known=True), "about 0.0 s"),
    ],
)
def test_wording(eta, words):
    assert in_words(eta) == words


# How far it is


def test_an_item_that_says_nothing_is_judged_by_the_clock_but_never_done():
    item = ItemState("convert", "ar1", status="running", started=100.0, expected_seconds=10.0)
    assert done_of(item, 105.0) == 0.5
    assert done_of(item, 1000.0) == 0.95


def test_what_an_item_reports_counts_whatever_the_clock_says():
    item = ItemState("convert", "ar1", status="running", started=100.0, expected_seconds=10.0, fraction=0.3)
    assert done_of(item, 101.0) == done_of(item, 321.0) == 0.3


def test_progress_never_steps_back_when_the_first_report_is_behind_the_clock():
    item = ItemState("convert", "ar1", status="running", started=100.0, expected_seconds=10.0)
    shown = [done_of(item, 130.0)]
    for fraction in (0.5, 0.5, 0.4, 0.6, 0.8, 1.0):
        item.take_report(fraction, 130.0)
        shown.append(done_of(item, 131.0))
    assert shown == pytest.approx([0.95, 0.95, 0.95, 0.95, 0.96, 0.98, 1.0])
    assert is_blended(item)


def test_a_report_ahead_of_the_clock_counts_as_it_is():
    item = ItemState("convert", "ar1", status="running", started=100.0, expected_seconds=10.0)
    item.take_report(0.5, 103.0)
    assert (done_of(item, 109.0), is_blended(item)) == (0.5, False)
    item.take_report(0.7, 109.0)
    assert done_of(item, 109.0) == 0.7


def test_wall_time_stages_in_turn_items_side_by_side():
    items = [("load", 4.0), *(("convert", 3.0) for _ in range(4))]
    assert wall_seconds(items, jobs=1) == 16
    assert wall_seconds(items, jobs=2) == 10
    assert wall_seconds([("a", 9.0), ("a", 1.0)], jobs=2) == 9  # never shorter than its longest item
    assert wall_seconds([], jobs=2) == 0


def test_every_moment_is_divided_among_what_ran_in_it():
    def started(time: float, stage: str) -> ev.ItemStarted:
        return ev.ItemStarted(time=time, stage=stage, label="all", key="k", reason="", log="", threads=1)

    def finished(time: float, stage: str) -> ev.ItemFinished:
        return ev.ItemFinished(
            time=time, stage=stage, label="all", key="k", seconds=1, peak_rss=0, bytes=0, directory=""
        )

    wall_time = WallTimeByStage()
    wall_time.apply(ev.RunStarted(time=0, run_id="r", recipe="", cache_dir="", pid=1, jobs=2, memory=1, items=[]))
    for event in (started(1, "a"), started(2, "b"), finished(4, "a"), finished(9, "b")):
        wall_time.apply(event)
    wall_time.apply(ev.RunFinished(time=10, status="done", seconds=10, executed=2, cached=0, failed=0))
    assert dict(wall_time.seconds) == {"a": 2.0, "b": 6.0}
    assert wall_time.idle == 2.0
    assert wall_time.fraction("b") == 0.6
