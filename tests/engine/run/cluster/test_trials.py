"""Machines that die at random, seed by seed: nothing is lost, wrong or mixed."""

from __future__ import annotations

import os
import random
import signal
import threading
import time
from pathlib import Path

import pytest
from dask_cluster import Machines, Watched, machines, open_toy, options_for, results

from qairt.engine.record import events as ev
from qairt.engine.run.options import RunOptions

pytestmark = pytest.mark.matrix


def wide(folder: Path):
    """Twelve fan items, and as many after them."""
    pipeline = open_toy(folder, sleep=0.6)
    recipe = folder / "toy.yaml"
    recipe.write_text(recipe.read_text().replace("[1, 2, 3]", str(list(range(1, 13)))))
    return type(pipeline).from_recipe(recipe)


def break_something(chance: random.Random, cluster: Machines, store: Path) -> str:
    """One fault, mended after a while; returns what it was."""
    faults = ["worker killed", "worker ended", "worker stopped", "scheduler killed", "store away", "content"]
    what = chance.choice(faults)
    name = chance.choice(sorted(cluster.workers))
    if what == "worker killed":
        cluster.kill(name)
        cluster.start_worker(name, joined=False)
    elif what == "worker ended":
        cluster.workers[name].terminate()
        cluster.workers[name].wait(60)
        cluster.start_worker(name, joined=False)
    elif what == "worker stopped":
        os.kill(cluster.workers[name].pid, signal.SIGSTOP)
        time.sleep(chance.uniform(0.5, 4.0))
        os.kill(cluster.workers[name].pid, signal.SIGCONT)
    elif what == "scheduler killed":
        cluster.kill("scheduler")
        cluster.start_scheduler()
    elif what == "store away":
        store.rename(store.with_name("away"))
        time.sleep(chance.uniform(0.2, 2.0))
        store.with_name("away").rename(store)
    else:
        contents = sorted((store / "cas").glob("*/*"))
        if contents:
            content = chance.choice(contents)
            content.chmod(0o644)
            content.write_bytes(b"?" * content.stat().st_size)
    return what


@pytest.mark.parametrize("seed", range(10))
def test_whatever_dies_the_run_ends_with_the_same_bytes(tmp_path, store, monkeypatch, seed):
    chance = random.Random(seed)
    monkeypatch.setenv("QAIRT_STORE", "off")
    here = wide(tmp_path / "here")
    assert here.construct(RunOptions(jobs=4, memory=10**9)).result.status == "done"
    monkeypatch.setenv("QAIRT_STORE", f'{{url: "file:{store}", mode: read-write}}')
    there = wide(tmp_path / "there")
    watched = Watched(there)
    with machines(tmp_path / "machines", workers=3) as cluster:
        run = threading.Thread(target=there.construct, args=(options_for(cluster),), daemon=True)
        run.start()
        faults = []
        while run.is_alive() and len(faults) < 6:
            run.join(chance.uniform(0.3, 1.5))
            faults.append(break_something(chance, cluster, store))
        run.join(180)
        story = f"{faults}\n{watched.said()}\n{[event.error for event in watched.of(ev.ItemFailedEvent)]}"
        assert not run.is_alive(), story
        assert watched.of(ev.RunFinished)[0].status == "done", story
    assert results(there) == results(here)
