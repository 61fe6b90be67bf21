"""kill -9 at every change that an upload or a fetch makes: nothing is lost, nothing wrong is used."""

from __future__ import annotations

import hashlib
import random
import shutil
from pathlib import Path

import pytest
import store_trials
from shared_machines import MADE, Machine

from qairt.engine.cache.store import Store
from qairt.engine.shared_store.stored import content_name, parsed

RESULT = "hello 1|HELLO 2"


def check_store(store: Path) -> int:
    """Every record names contents that are there, whole; returns how many records there are."""
    records = [path for path in (store / "ac").rglob("*") if path.is_file() and not path.name.startswith(".writing-")]
    for path in records:
        record = parsed(path.read_bytes(), path.name)
        assert record is not None, path
        for digest in record.contents():
            assert hashlib.sha256((store / content_name(digest)).read_bytes()).hexdigest() == digest
    return len(records)


@pytest.fixture
def place(tmp_path):
    """A machine `one` that has run, and an empty store."""
    (tmp_path / "store").mkdir()
    Machine(tmp_path / "one", "file:/nowhere", mode="read").run()
    return tmp_path


def one_push(place: Path, number: int) -> None:
    store_trials.killed("push", place, number)
    check_store(place / "store")
    assert not store_trials.killed("push", place, 0)
    assert check_store(place / "store") == 5
    reader = Machine(place / "reader", f"file:{place}/store", mode="read")
    assert reader.run().result.executed == []
    assert reader.result() == RESULT


def one_fetch(place: Path, number: int) -> None:
    store_trials.killed("fetch", place, number)
    two = Machine(place / "two", f"file:{place}/store", mode="read")
    assert two.run().result.executed == []
    assert two.result() == RESULT
    cache = Store(two.folder)
    cache.verify()
    assert cache.problems == []
    assert sorted(f"{entry.stage} {entry.label}" for entry in cache.entries()) == sorted(MADE)
    cache.prune()
    assert list(two.folder.rglob(".making-*")) == []
    assert check_store(place / "store") == 5


def test_an_upload_that_is_killed(place):
    one_push(place, random.randint(1, store_trials.changes_of("push", _copy(place))))


def test_a_fetch_that_is_killed(place):
    assert not store_trials.killed("push", place, 0)
    one_fetch(place, random.randint(1, store_trials.changes_of("fetch", _copy(place))))


@pytest.mark.matrix
@pytest.mark.parametrize("what", ["push", "fetch"])
def test_every_point(place, what):
    if what == "fetch":
        assert not store_trials.killed("push", place, 0)
    total = store_trials.changes_of(what, _copy(place))
    assert total > 30
    for number in range(1, total + 1):
        copy = _copy(place, f"at{number}")
        one_push(copy, number) if what == "push" else one_fetch(copy, number)
        shutil.rmtree(copy)


def _copy(place: Path, name: str = "copy") -> Path:
    copy = place.with_name(f"{place.name}-{name}")
    shutil.copytree(place, copy)
    return copy
