"""Nothing is lost or wrong when a worker, the scheduler or the store goes away; workers that do not fit are told."""

from __future__ import annotations

import os
import signal

import pytest
import wait
from dask_cluster import Run, machines, open_toy, options_for

from qairt.engine.record import events as ev
from qairt.engine.run.cluster import executor, supervisor
from qairt.errors import QairtError

pytestmark = pytest.mark.usefixtures("store")


@pytest.mark.parametrize("how", [signal.SIGKILL, pytest.param(signal.SIGTERM, marks=pytest.mark.matrix)])
def test_a_worker_that_dies_costs_its_items_a_second_start(tmp_path, expected, how):
    with machines(tmp_path / "machines") as cluster:
        run = Run(tmp_path / "run", cluster)
        run.half_way(2)
        cluster.workers["w0"].send_signal(how)
        wait.until(lambda: "is gone" in run.watched.said())
        run.go()
        run.ends_with(expected)
        started = [event.label for event in run.watched.of(ev.ItemStarted) if event.stage == "fan"]
        assert sorted(started)[:3] == ["ar1", "ar2", "ar3"] or len(started) >= 4
        assert len(started) == 4  # only the one on the dead worker began again


def test_the_scheduler_dies_and_another_takes_its_place(tmp_path, expected):
    with machines(tmp_path / "machines") as cluster:
        run = Run(tmp_path / "run", cluster)
        run.half_way(2)
        cluster.kill("scheduler")
        wait.until(lambda: "does not answer: the run waits for it" in run.watched.said())
        run.go()
        cluster.start_scheduler()
        run.ends_with(expected)
        assert "trying to join again" in cluster.said("w0")


def test_a_worker_that_comes_later_gets_items(tmp_path, expected):
    with machines(tmp_path / "machines", workers=0) as cluster:
        run = Run(tmp_path / "run", cluster)
        wait.until(lambda: "has no workers yet" in run.watched.said())
        run.go()
        cluster.start_worker("late")
        run.ends_with(expected)
        changed = run.watched.of(ev.WorkersChanged)
        assert [event.workers for event in changed] == [1]
        assert changed[0].jobs >= 2
        assert changed[0].memory > 0


def test_the_store_goes_away_for_a_while(tmp_path, expected, store):
    with machines(tmp_path / "machines") as cluster:
        run = Run(tmp_path / "run", cluster)
        run.half_way(2)
        away = store.with_name("away")
        store.rename(away)
        run.go()
        wait.until(lambda: any(e.label in ("ar1", "ar2", "ar3") for e in run.watched.of(ev.ItemWaiting)))
        away.rename(store)
        run.ends_with(expected)


def test_an_item_that_no_worker_can_hold_is_refused_with_what_is_missing(tmp_path, monkeypatch):
    monkeypatch.setattr(executor, "_SUITABLE_S", 0.5)
    with machines(tmp_path / "machines", workers=0) as cluster:
        cluster.start_worker("small", memory="100")
        result = open_toy(tmp_path / "run").construct(options_for(cluster)).result
        (failed,) = result.failed
        assert "it needs 1 kB of RAM, and the largest worker" in str(failed)
        assert "has 100 B" in str(failed)


def test_a_worker_without_the_package_is_refused_by_name(tmp_path, store):
    shadow = tmp_path / "shadow" / "qairt"
    shadow.mkdir(parents=True)
    (shadow / "__init__.py").write_text("")
    with machines(tmp_path / "machines", workers=0) as cluster:
        name = cluster.folder / "plain"
        arguments = ["-m", "distributed.cli.dask_worker", cluster.address, "--no-nanny", "--no-dashboard"]
        arguments += ["--local-directory", str(name)]
        cluster.workers["plain"] = cluster.start("plain", arguments, PYTHONPATH=str(shadow.parent))
        wait.until(lambda: "Registered to" in cluster.said("plain"))
        with pytest.raises(QairtError, match="none of its workers can be used: .* is not installed there"):
            open_toy(tmp_path / "run").construct(options_for(cluster))
        assert cluster.workers["plain"].poll() is None  # Dask ends a worker that is asked by a name it does not know


def test_a_plain_dask_worker_does(tmp_path, expected):
    """With the nanny that Dask starts unless told not to."""
    with machines(tmp_path / "machines", workers=0) as cluster:
        arguments = ["-m", "distributed.cli.dask_worker", cluster.address, "--nthreads", "2", "--no-dashboard"]
        arguments += ["--local-directory", str(cluster.folder / "plain")]
        cluster.workers["plain"] = cluster.start("plain", arguments)
        run = Run(tmp_path / "run", cluster)
        run.half_way(2)
        run.go()
        run.ends_with(expected)


@pytest.mark.matrix
def test_a_network_that_is_cut_for_a_while(tmp_path, expected):
    """A stopped process answers nobody, as one behind a cut line."""
    with machines(tmp_path / "machines") as cluster:
        run = Run(tmp_path / "run", cluster)
        run.half_way(2)
        os.kill(cluster.workers["w0"].pid, signal.SIGSTOP)
        run.go()
        wait.until(lambda: len(run.watched.of(ev.ItemFinished)) >= 2)
        os.kill(cluster.workers["w0"].pid, signal.SIGCONT)
        run.ends_with(expected)


def test_a_worker_that_cannot_join_says_so(tmp_path, monkeypatch):
    monkeypatch.setattr(supervisor, "_JOIN_S", 1.0)
    with pytest.raises(QairtError, match="no Dask scheduler answers"):
        supervisor.work("tcp://127.0.0.1:9", tmp_path / "worker", jobs=1, memory=10**9, notify=print)
    (tmp_path / "file").touch()
    with pytest.raises(QairtError, match="items cannot be made here"):
        supervisor.work("tcp://127.0.0.1:9", tmp_path / "file", jobs=1, memory=10**9, notify=print)
