"""What runs together, and what a failure skips."""

from __future__ import annotations

import threading
from typing import Any

from planned_items import item, parts
from wait import settled

from qairt.engine.run.capacity import MachineCapacity
from qairt.engine.run.scheduler import Outcome, Scheduler


def run_items(items: list[Any], run: Any, **settings: Any) -> Outcome:
    capacity = MachineCapacity(*(settings.pop(name) for name in ("jobs", "memory", "cores")))
    return Scheduler(items, run, capacity, **settings).run()


def order(items: list[Any], **bounds: Any) -> list[str]:
    started: list[str] = []
    settings = {"jobs": 1, "memory": 100, "cores": 2, "stop": threading.Event()} | bounds
    run_items(items, lambda one, place, computed: started.append(one.name), **settings)
    return started


def test_one_core_is_never_idle_and_order_is_free():
    started = order(parts(5, 50))
    assert sorted(started) == sorted(one.name for one in parts(5, 50))
    assert started[-1] == "bundle"


def test_jobs_memory_and_threads_are_bounds():
    running: list[int] = []
    most: list[tuple[int, int]] = []
    granted: list[int] = []
    used: list[int] = []
    lock = threading.Lock()

    def run(one: Any, place: Any, computed: Any) -> None:
        with lock:
            running.append(one.peak_ram)
            granted.append(place.threads)
            most.append((len(running), sum(running)))
            used.append(sum(granted))
        settled(lambda: len(most), quiet=0.05)
        with lock:
            running.remove(one.peak_ram)
            granted.remove(place.threads)

    items = [item(str(number), ram=40, threads=64) for number in range(8)]
    run_items(items, run, jobs=3, memory=100, cores=6, stop=threading.Event())
    assert max(count for count, _ in most) == 2
    assert max(total for _, total in most) == 80
    assert max(used) <= 6


def test_an_item_larger_than_the_memory_runs_alone():
    assert order([item("huge", ram=1000), item("small", ram=1)], jobs=2) == ["huge", "small"]


def test_a_failure_skips_what_needs_it_and_nothing_else():
    good, bad = item("good"), item("bad")
    after = item("after", bad)
    items = [good, bad, after, item("last", after), item("fine", good)]

    def run(one: Any, place: Any, computed: Any) -> None:
        if one is bad:
            raise ValueError("no")

    outcome = run_items(items, run, jobs=2, memory=100, cores=2, stop=threading.Event())
    assert sorted(one.name for one in outcome.done) == ["fine", "good"]
    assert [(one.name, str(error)) for one, error in outcome.failed] == [("bad", "no")]
    assert [(one.name, cause.name) for one, cause in outcome.skipped] == [("after", "bad"), ("last", "bad")]


def test_a_failure_skips_what_needs_it_through_an_item_that_does_not_run():
    bad = item("bad")
    between = item("on demand", bad)
    items = [bad, item("after", between)]

    def run(one: Any, place: Any, computed: Any) -> None:
        raise ValueError("no")

    outcome = run_items(items, run, jobs=2, memory=100, cores=2, stop=threading.Event())
    assert [(one.name, cause and cause.name) for one, cause in outcome.skipped] == [("after", "bad")]


def test_stop_starts_nothing_new():
    stop = threading.Event()
    items = [item(str(number)) for number in range(5)]
    outcome = run_items(items, lambda one, place, computed: stop.set(), jobs=1, memory=100, cores=1, stop=stop)
    assert len(outcome.done) == 1
    assert [cause for _, cause in outcome.skipped] == [None] * 4


def test_storing_a_result_holds_no_core():
    storing, other = threading.Event(), threading.Event()

    def run(one: Any, place: Any, computed: Any) -> None:
        if one.name == "first":
            computed()
            storing.set()
            assert other.wait(5), "the second item should run while the first is stored"
        else:
            assert storing.wait(5)
            other.set()

    items = [item("first", seconds=2), item("second", seconds=1)]
    outcome = run_items(items, run, jobs=1, memory=1, cores=1, stop=threading.Event())
    assert len(outcome.done) == 2
    assert not outcome.failed


def test_what_needs_a_result_waits_until_it_is_stored():
    stored = threading.Event()
    started: list[str] = []

    def run(one: Any, place: Any, computed: Any) -> None:
        started.append(one.name)
        computed()
        if one.name == "first":
            settled(lambda: len(started), quiet=0.1)
            stored.set()
        else:
            assert stored.is_set()

    first = item("first")
    outcome = run_items([first, item("second", first)], run, jobs=2, memory=9, cores=2, stop=threading.Event())
    assert [one.name for one in outcome.done] == ["first", "second"]


def test_what_is_made_again_behind_a_finished_source_is_waited_for():
    lost = item("model", seconds=1)
    kept = item("quantize", lost)  # finished, so not among the items that run
    assert order([item("bundle", kept, seconds=9), lost]) == ["model", "bundle"]


def test_what_measures_runs_alone_first_and_on_all_cores():
    running: list[str] = []
    beside: dict[str, set[str]] = {}
    given: dict[str, int] = {}
    lock = threading.Lock()

    def run(one: Any, place: Any, computed: Any) -> None:
        with lock:
            running.append(one.name)
            for name in running:
                beside.setdefault(name, set()).update(running)
        given[one.name] = place.threads
        settled(lambda: len(given), quiet=0.05)
        with lock:
            running.remove(one.name)

    first = item("first")
    others = [item(f"work {place}", first, seconds=9, threads=4) for place in range(4)]
    items = [first, *others, item("measure", first, threads=64, alone=True)]
    outcome = run_items(items, run, jobs=4, memory=100, cores=4, stop=threading.Event())
    assert [one.name for one in outcome.done][:2] == ["first", "measure"]
    assert len(outcome.done) == 6
    assert beside["measure"] == {"measure"}
    assert given["measure"] == 4


def test_what_measures_waits_for_what_runs_and_holds_nothing_back():
    started: list[str] = []
    slow = threading.Event()

    def run(one: Any, place: Any, computed: Any) -> None:
        started.append(one.name)
        if one.name == "slow":
            assert slow.wait(5)
        if one.name == "last":
            slow.set()

    quick = item("quick")
    items = [item("slow"), quick, item("last", quick), item("measure", quick, alone=True)]
    outcome = run_items(items, run, jobs=2, memory=100, cores=2, stop=threading.Event())
    assert started[-1] == "measure"
    assert len(outcome.done) == 4


def test_what_was_skipped_runs_after_a_retry_once_its_sources_are_made():
    bad, beside = item("bad"), item("beside")
    after = item("after", bad, beside)
    last = item("last", after)
    tried: list[str] = []

    def run(one: Any, place: Any, computed: Any) -> None:
        tried.append(one.name)
        if one is bad and tried.count("bad") == 1:
            raise ValueError("no")
        if one is beside:
            scheduler.retry()

    scheduler = Scheduler([bad, beside, after, last], run, MachineCapacity(1, 100, 1), stop=threading.Event())
    outcome = scheduler.run()
    assert [one.name for one in outcome.done] == ["beside", "bad", "after", "last"]
    assert (outcome.failed, outcome.skipped) == ([], [])
    assert tried == ["bad", "beside", "bad", "after", "last"]
