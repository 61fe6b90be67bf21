"""When an item is given back, and when it is to blame."""

from __future__ import annotations

import threading
from concurrent.futures import Future
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import toy_stages as toy

from qairt.engine.cache.cache import StageCache
from qairt.engine.run.cluster import supervisor
from qairt.engine.run.cluster.executor import ClusterExecutor
from qairt.engine.run.cluster.transfer import Transfer
from qairt.engine.run.executor import ItemLog
from qairt.engine.run.jobs import Job, import_path
from qairt.engine.run.stop import Stop, TryAgain
from qairt.engine.shared_store.settings import StoreSettings
from qairt.engine.task import Task
from qairt.errors import ItemFailed, RecipeError


class Dying:
    """A cluster on which every task's worker goes away, alone or with all others."""

    def __init__(self, others: int) -> None:
        self.workers = [SimpleNamespace()] * others

    def submit(self, worker: str, packed: Any) -> Any:
        return SimpleNamespace(future=Future(), take_told=list)

    def has(self, worker: str) -> bool:
        return False

    def host(self, worker: str) -> str:
        return worker

    def drop(self, call: Any) -> None:
        pass


@pytest.fixture(autouse=True)
def at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("qairt.engine.run.cluster.executor._LOOK_S", 0.0)


def tries(tmp_path: Path, others: int) -> tuple[int, ItemFailed]:
    """How often an item is tried, and how it fails at last."""
    (tmp_path / "store").mkdir()
    cache = StageCache(tmp_path / "cache")
    executor = ClusterExecutor("tcp://nowhere:1", None, cache, print, print)
    executor._cluster = Dying(others)  # type: ignore[assignment]
    settings = StoreSettings(url=f"file:{tmp_path / 'store'}", mode="read-write")
    executor._transfer = Transfer(settings, tmp_path / "state", cache.blobs)
    job = Job(
        stage=import_path(toy.Source),
        config={},
        task=Task(coord=(), sources=()),
        inputs=[],
        directory=tmp_path / "made",
        resume=tmp_path / ".resume-0123",
        shared=tmp_path / "shared",
        threads=1,
    )
    item = ItemLog("source", "all", tmp_path / "log", "tcp://worker:1")
    for number in range(1, 100):
        try:
            executor.run(job, item, lambda fraction, message: None, Stop(threading.Event()), lambda usage: None)
        except TryAgain:
            continue
        except ItemFailed as failure:
            return number, failure
    raise AssertionError("it never fails")


def test_an_item_whose_worker_goes_away_again_and_again_is_to_blame(tmp_path):
    number, failure = tries(tmp_path, others=1)
    assert number == 4
    assert "it was tried on 4 workers; at last: its worker went away" in str(failure)
    assert "check how much memory it needs" in str(failure)


def test_a_cluster_that_goes_away_whole_is_not_its_fault(tmp_path):
    assert tries(tmp_path, others=0)[0] == 20


def test_without_the_package_the_remedy_is_named(tmp_path, monkeypatch):
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    executor = ClusterExecutor("tcp://nowhere:1", None, StageCache(tmp_path / "cache"), print, print)
    with pytest.raises(RecipeError, match="needs the package distributed, which is not installed") as caught:
        executor.open()
    assert caught.value.remedy == "pip install 'qairt[cluster]'"
    with pytest.raises(RecipeError, match="a worker needs the package distributed"):
        supervisor.work("tcp://nowhere:1", tmp_path / "worker", jobs=1, memory=1, notify=print)


@pytest.mark.parametrize("text", ["/elsewhere/file", "no path"])
def test_only_what_it_reads_is_named_by_digest(tmp_path, text):
    from qairt.engine.run.cluster.packed import pack, unpack

    (tmp_path / "entry").mkdir()
    read = tmp_path / "entry" / "weights.bin"
    read.write_bytes(b"abc")
    job = Job(
        stage="module:Stage",
        config={"text": text},
        task=Task(coord=(), sources=(((),))),
        inputs=[((), {"text": str(read), "beside": str(tmp_path / "entryway")})],
        directory=tmp_path / "made",
        resume=tmp_path / ".resume-0123",
        shared=tmp_path / "shared",
        threads=2,
        digests={read: "d" * 64, tmp_path / "other" / "file": "e" * 64},
        folders=[tmp_path / "entry"],
    )
    packed, contents = pack(job, "stage", "all", StoreSettings(url="file:/store"))
    assert contents == {"d" * 64: read}
    assert str(read) not in packed.model_dump_json()
    there = unpack(packed, Path("/worker/job"), resume=Path("/worker/resume"), shared=Path("/worker/shared"))
    assert there.inputs[0][1] == {
        "text": "/worker/job/inputs/0/weights.bin",
        "beside": str(tmp_path / "entryway"),
    }
    assert there.digests == {Path("/worker/job/inputs/0/weights.bin"): "d" * 64}
    assert (there.config, there.threads, there.directory) == ({"text": text}, 2, Path("/worker/job/made"))
