"""An entry is not replaced, cleared or deleted under an item that reads it."""

from __future__ import annotations

import threading
from pathlib import Path

import pytest
import toy_stages as toy
from wait import until

from qairt.engine.cache.store import Store
from qairt.engine.pipeline import Pipeline
from qairt.engine.record import events as ev
from qairt.engine.run.options import RunOptions
from qairt.errors import CacheError

INLINE = RunOptions(jobs=1, memory=10**9, executor="inline")
FORCED = RunOptions(jobs=1, memory=10**9, executor="inline", force=frozenset({"source"}))


@pytest.fixture
def said_by(tmp_path: Path) -> Path:
    path = tmp_path / "said"
    path.write_text("hello")
    return path


@pytest.fixture
def made(tmp_path: Path, said_by: Path) -> Pipeline:
    """A finished run."""
    made = Pipeline([toy.Chance(toy.ChanceConfig(said_by=said_by)), toy.Fan()], tmp_path / "cache")
    assert made.construct(INLINE).status == "done"
    return made


def test_equal_content_keeps_the_entry_and_renews_its_record(made: Pipeline):
    (before,) = made.cache.entries("source")
    inodes = {path.name: path.stat().st_ino for path in before.directory.iterdir()}
    with made.cache.readers.reading([before.key]):
        assert made.construct(FORCED).executed == ["source all"]
    (after,) = made.cache.entries("source")
    assert after.timestamp > before.timestamp
    assert after.new_bytes == before.new_bytes
    now = {path.name: path.stat().st_ino for path in after.directory.iterdir()}
    assert {name for name in now if now[name] != inodes[name]} == {"cache_entry.json"}


def test_other_content_replaces_the_entry_when_its_readers_ended(made: Pipeline, said_by: Path):
    (before,) = made.cache.entries("source")
    said_by.write_text("bye")
    waiting = threading.Event()
    message = "source all is rebuilt; it replaces the current result once other runs have read that"
    made.add_listener(
        lambda event: waiting.set() if isinstance(event, ev.LogLine) and event.message == message else None
    )
    results = []
    forced = threading.Thread(target=lambda: results.append(made.construct(FORCED)))
    with made.cache.readers.reading([before.key]):
        forced.start()
        until(waiting.is_set)
        assert (before.directory / "text.txt").read_text() == "hello"
    forced.join()
    assert results[0].status == "done"
    assert (before.directory / "text.txt").read_text() == "bye"
    assert not list(made.state_folder.rglob(".making-*"))


def test_a_run_that_waits_for_readers_can_be_stopped(made: Pipeline, said_by: Path):
    (before,) = made.cache.entries("source")
    said_by.write_text("bye")
    made.add_listener(
        lambda event: made.stop.set() if isinstance(event, ev.LogLine) and "is rebuilt" in event.message else None
    )
    with made.cache.readers.reading([before.key]):
        assert made.construct(FORCED).status == "interrupted"
    assert (before.directory / "text.txt").read_text() == "hello"


def test_damage_is_replaced_even_by_equal_content(made: Pipeline):
    (before,) = made.cache.entries("source")
    (before.directory / "text.txt").write_text("jello")
    assert made.construct(FORCED).executed == ["source all"]
    assert (before.directory / "text.txt").read_text() == "hello"


def test_what_is_read_is_not_cleared(made: Pipeline):
    (source,) = made.cache.entries("source")
    store = Store(made.cache_dir)
    with made.cache.readers.reading([source.key]):
        with pytest.raises(CacheError, match="nothing was cleared: source all is being read by a run\n  wait for"):
            store.clear(store.entries())
        assert len(store.entries()) == 3
        with pytest.raises(CacheError, match="source all is being read by a run and was not deleted\n  wait for"):
            made.cache.clear()
        assert [entry.stage for entry in made.cache.entries()] == ["source"]
    made.cache.clear()
    assert not list(made.cache.entries())
