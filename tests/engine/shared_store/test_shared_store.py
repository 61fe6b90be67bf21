"""Asking a store: each question once, side by side, within the limits; after a failure it is left alone for a while."""

from __future__ import annotations

import dataclasses
import threading
import time

import pytest
from shared_machines import CALM, FAST, Machine

from qairt.engine.cache.cache import StageCache
from qairt.engine.shared_store.folder_objects import FolderObjects
from qairt.engine.shared_store.objects import Unavailable
from qairt.engine.shared_store.settings import StoreSettings
from qairt.engine.shared_store.shared_store import SharedStore
from qairt.engine.shared_store.stored import action_of


class Counted(FolderObjects):
    """Counts questions; stops answering when told."""

    def __init__(self, folder):
        super().__init__(folder)
        self.asked: list[str] = []
        self.silent = threading.Event()
        self.over = threading.Event()

    def read(self, name):
        self.asked.append(name)
        if self.silent.is_set():
            self.over.wait(30)
        return super().read(name)


@pytest.fixture
def filled(tmp_path):
    """A store with the results of a run, and their actions."""
    (tmp_path / "store").mkdir()
    machine = Machine(tmp_path / "one", f"file:{tmp_path}/store")
    machine.run()
    return [action_of(entry.key, entry.read) for entry in StageCache(machine.folder).entries()]


@pytest.fixture
def store(tmp_path, filled):
    store = SharedStore(StoreSettings(url=f"file:{tmp_path}/store"), tmp_path, CALM)
    store._objects = Counted(tmp_path / "store")
    store._id = "of this test"
    yield store
    store._objects.over.set()


def test_an_answer_is_kept_and_a_miss_for_a_while(store, filled, monkeypatch):
    assert store.find([*filled, "0" * 64]).keys() == set(filled)
    assert len(store._objects.asked) == 6
    assert store.find([*filled, "0" * 64]).keys() == set(filled)
    assert len(store._objects.asked) == 6
    later = time.monotonic() + 60
    monkeypatch.setattr(time, "monotonic", lambda: later)
    store.find([*filled, "0" * 64])
    assert len(store._objects.asked) == 7


def test_present_counts_whatever_is_there(store, filled):
    assert store.present([*filled, "0" * 64]) == set(filled)


def test_a_store_that_hangs_costs_one_wait(store, filled):
    store.limits = FAST
    store._objects.silent.set()
    began = time.monotonic()
    assert store.find(filled) == {}
    assert store.is_away()
    assert store.find(filled) == {}
    with pytest.raises(Unavailable, match=r"^no answers within 1\.5 s$"):
        store.ask(lambda objects: objects.read("x"))
    assert time.monotonic() - began < 30
    assert store.notices() == [f"the store {store.url} cannot be used: no answers within 1.5 s; going on without it"]


def test_it_is_asked_again_later_and_then_less_often(store, monkeypatch):
    now = [1000.0]
    monkeypatch.setattr(time, "monotonic", lambda: now[0])
    for away in (60, 120, 240):
        store.failed(Unavailable("down"))
        now[0] += away - 1
        assert store.is_away()
        now[0] += 2
        assert not store.is_away()
    monkeypatch.undo()
    store.ask(lambda objects: None)
    assert store._away == FAST.away
    assert len(store.notices()) == 1


def test_what_was_measured_is_what_is_expected(store):
    assert store.expected_seconds(400_000_000) == pytest.approx(1.1)
    store.memory.measured(100_000_000, 1.0)
    assert store.expected_seconds(400_000_000) == pytest.approx(4.1)


def test_the_disk_is_asked_before_anything_is_fetched(store, filled, tmp_path, monkeypatch):
    monkeypatch.setattr("qairt.engine.shared_store.shared_store.free_space", lambda folder: 10)
    stored = store.find(filled)[filled[0]]
    cache = StageCache(tmp_path / "cache")
    (tmp_path / "into").mkdir()
    came = store.fetch(
        stored, tmp_path / "into", cache.blobs, building=1.0, progress=lambda fraction: None, check=lambda: None
    )
    assert not came
    assert store.notices() == [f"{store.url} has {stored.bytes} B for an item, and 10 B is free on this disk"]
    assert list((tmp_path / "into").iterdir()) == []


def test_limits_of_a_user_are_stated():
    assert dataclasses.asdict(type(FAST)()) == {
        "answer": 10.0,
        "listing": 30.0,
        "silent": 20.0,
        "fetch": 60.0,
        "judged": 10.0,
        "leave": 10.0,
        "away": 60.0,
    }
