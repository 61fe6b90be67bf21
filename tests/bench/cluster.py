"""Items on 1, 2 and 4 workers of a Dask cluster, each in a network namespace of its own; and a line that is cut.

Needs root and `ip`. Items sleep, so that a machine with few cores can stand for many.

    sudo .venv/bin/python tests/bench/cluster.py [--items 20] [--seconds 3] [--cut 30]
"""

from __future__ import annotations

import argparse
import os
import shutil
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1] / "support"))

import wait
from dask_cluster import Machines, Watched, open_toy, options_for, results

from qairt.engine.record import events as ev
from qairt.engine.run.options import RunOptions

BRIDGE = "qbench"
NETWORK = "10.213.7"


def ip(*words: str) -> None:
    subprocess.run(["ip", *words], check=True, capture_output=True)


class Namespaces(Machines):
    """Workers in network namespaces on one bridge; the scheduler and the run are on the host's side of it."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder, f"{NETWORK}.1")

    def command(self, name: str) -> list[str]:
        own = super().command(name)
        return own if name == "scheduler" else ["ip", "netns", "exec", f"q-{name}", *own]

    def line(self, name: str, state: str) -> None:
        ip("link", "set", f"v-{name}", state)


@contextmanager
def network(names: list[str]) -> Iterator[None]:
    ip("link", "add", BRIDGE, "type", "bridge")
    try:
        ip("addr", "add", f"{NETWORK}.1/24", "dev", BRIDGE)
        ip("link", "set", BRIDGE, "up")
        for number, name in enumerate(names):
            ip("netns", "add", f"q-{name}")
            ip("link", "add", f"v-{name}", "type", "veth", "peer", "name", "eth0", "netns", f"q-{name}")
            ip("link", "set", f"v-{name}", "master", BRIDGE, "up")
            inside = ["netns", "exec", f"q-{name}", "ip"]
            ip(*inside, "addr", "add", f"{NETWORK}.{number + 2}/24", "dev", "eth0")
            ip(*inside, "link", "set", "eth0", "up")
            ip(*inside, "link", "set", "lo", "up")
        yield
    finally:
        for name in names:
            subprocess.run(["ip", "netns", "del", f"q-{name}"], capture_output=True, check=False)
        subprocess.run(["ip", "link", "del", BRIDGE], capture_output=True, check=False)


def timed(cluster: Machines, folder: Path, items: int, seconds: float) -> float:
    """Seconds that the items took, from the first start to the last end."""
    names = ", ".join(map(str, range(1, items + 1)))
    pipeline = open_toy(folder, sleep=seconds)
    recipe = folder / "toy.yaml"
    recipe.write_text(recipe.read_text().replace("[1, 2, 3]", f"[{names}]"))
    pipeline = type(pipeline).from_recipe(recipe)
    watched = Watched(pipeline)
    assert pipeline.construct(options_for(cluster)).result.status == "done"
    fan = [event for event in watched.events if getattr(event, "stage", "") == "fan"]
    began = min(event.time for event in fan if isinstance(event, ev.ItemStarted))
    return max(event.time for event in fan if isinstance(event, ev.ItemFinished)) - began


def cut(cluster: Namespaces, folder: Path, seconds: float) -> None:
    """Cut a worker's line while it works, and say how the run ended."""
    os.environ["QAIRT_STORE"], setting = "off", os.environ["QAIRT_STORE"]
    here = open_toy(folder / "here", sleep=4.0)
    here.construct(RunOptions(jobs=3, memory=10**9))
    os.environ["QAIRT_STORE"] = setting
    there = open_toy(folder / "there", sleep=4.0)
    watched = Watched(there)
    thread = threading.Thread(target=there.construct, args=(options_for(cluster),))
    began = time.monotonic()
    thread.start()
    wait.until(lambda: len(watched.of(ev.ItemProgress)) >= 2)
    cluster.line("w0", "down")
    time.sleep(seconds)
    cluster.line("w0", "up")
    thread.join(180)
    ended = watched.of(ev.RunFinished)
    starts = len([event for event in watched.of(ev.ItemStarted) if event.stage == "fan"])
    print(
        f"line of a worker cut for {seconds:g} s: {ended[0].status if ended else 'not ended'} after"
        f" {time.monotonic() - began:.0f} s, 3 items started {starts} times,"
        f" same bytes: {results(there) == results(here)}"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--items", type=int, default=20)
    parser.add_argument("--seconds", type=float, default=3.0)
    parser.add_argument("--cut", type=float, default=30.0)
    asked = parser.parse_args()
    folder = Path(tempfile.mkdtemp(prefix="qairt-bench-"))
    names = ["w0", "w1", "w2", "w3"]
    os.environ["QAIRT_STORE"] = f'{{url: "file:{folder}/store", mode: read-write}}'
    os.environ["XDG_CONFIG_HOME"] = str(folder / "config")
    (folder / "store").mkdir()
    try:
        with network(names):
            alone = 0.0
            for workers in (1, 2, 4):
                machines = folder / f"machines{workers}"
                machines.mkdir()
                cluster = Namespaces(machines)
                try:
                    cluster.start_scheduler()
                    for name in names[:workers]:
                        cluster.start_worker(name)
                    took = timed(cluster, folder / f"run{workers}", asked.items, asked.seconds)
                    alone = alone or took
                    over = took * workers / asked.items - asked.seconds
                    print(
                        f"{asked.items} items of {asked.seconds:g} s on {workers}: {took:.1f} s,"
                        f" {alone / took / workers:.2f} × workers, {over:.2f} s an item beyond its own",
                        flush=True,
                    )
                    if workers == 4 and asked.cut:
                        cut(cluster, folder, asked.cut)
                finally:
                    cluster.close()
                shutil.rmtree(folder / "store" / "ac", ignore_errors=True)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


if __name__ == "__main__":
    main()
