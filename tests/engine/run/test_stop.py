from __future__ import annotations

import threading

from qairt.engine.run.stop import Cancellations


def test_a_running_item_is_stopped_and_the_others_go_on():
    cancellations = Cancellations(threading.Event())
    one, two = cancellations.started("fan ar1"), cancellations.started("fan ar2")
    assert cancellations.cancel("fan ar1")
    assert (one.is_set(), two.is_set()) == (True, False)
    assert "fan ar1" in cancellations
    assert "fan ar2" not in cancellations


def test_an_item_that_was_cancelled_before_it_started_stops_at_once():
    cancellations = Cancellations(threading.Event())
    assert not cancellations.cancel("join all")
    assert cancellations.started("join all").is_set()


def test_the_run_stops_all():
    run = threading.Event()
    stop = Cancellations(run).started("fan ar1")
    run.set()
    assert stop.is_set()


def test_an_item_that_finished_all_the_same_or_is_retried_was_not_cancelled():
    cancellations = Cancellations(threading.Event())
    for name in ("fan ar1", "fan ar2", "fan ar3"):
        cancellations.started(name)
        cancellations.cancel(name)
    cancellations.ended("fan ar1", finished=True)
    cancellations.ended("fan ar2", finished=False)
    cancellations.ended("fan ar3", finished=False)
    cancellations.withdraw("fan ar3")
    assert [name in cancellations for name in ("fan ar1", "fan ar2", "fan ar3")] == [False, True, False]
    assert cancellations
