"""kill -9 at every change that letting go of an entry makes: nothing is lost, nothing half gone is used."""

from __future__ import annotations

import os
import shutil
import signal
from pathlib import Path

import pytest
from retained_run import MADE, Retained
from store_trials import kill_before

from qairt.engine.cache.releasing import release
from qairt.engine.cache.store import Store

CHANGED = "fan ar1"


@pytest.fixture
def place(tmp_path: Path) -> Retained:
    """A finished run that keeps everything."""
    found = Retained(tmp_path / "one", keep="all")
    found.run()
    return found


def dies_while_releasing(place: Retained, number: int) -> bool:
    """Whether a process that lets go of an entry was killed before that change; False if it makes fewer."""
    child = os.fork()
    if child == 0:
        kill_before(number)
        done = release(place.cache, place.entries()[CHANGED])
        os._exit(0 if done is not None else 1)
    _, status = os.waitpid(child, 0)
    if os.WIFSIGNALED(status):
        assert os.WTERMSIG(status) == signal.SIGKILL
        return True
    assert os.waitstatus_to_exitcode(status) == 0
    return False


def copy_of(place: Retained, name: str) -> Retained:
    folder = place.folder.with_name(name)
    shutil.copytree(place.folder, folder)
    return Retained(folder, keep="all")


def test_a_kill_at_every_change(place):
    number = 1
    while True:
        copy = copy_of(place, f"at{number}")
        died = dies_while_releasing(copy, number)
        store = Store(copy.folder)
        store.verify()
        assert store.problems == [], number
        assert sorted(copy.entries()) == sorted(MADE), number
        assert copy.run().executed == [], number
        assert copy.whole() in (sorted(MADE), sorted(set(MADE) - {CHANGED})), number
        store.prune()
        entry = copy.entries()[CHANGED]
        assert entry.is_whole or not (entry.directory / "text.txt").exists(), number
        before = place.entries()[CHANGED].files
        made = copy.run(asked=[CHANGED])
        assert made.executed == ([] if entry.is_whole else [CHANGED]), number
        assert (copy.entries()[CHANGED].files, copy.told) == (before, []), number
        assert copy.whole() == sorted(MADE), number
        if not died:
            break
        number += 1
    assert number > 5


def test_a_file_that_a_killed_process_left_is_removed_by_prune(place):
    entry = place.entries()[CHANGED]
    content = (entry.directory / "text.txt").read_bytes()
    released = release(place.cache, entry)
    assert released is not None
    (entry.directory / "text.txt").write_bytes(content)
    Store(place.folder).prune()
    assert not (entry.directory / "text.txt").exists()


def test_files_that_are_read_later_stay(place):
    entry = place.entries()[CHANGED]
    released = release(place.cache, entry, kept=[entry.directory / "text.txt"])
    assert released is not None
    assert (released.entry.is_whole, released.bytes) == (True, 0)


def test_a_released_entry_is_not_pushed(place, tmp_path):
    from shared_machines import Machine

    from qairt.engine.shared_store.uploads import push

    (tmp_path / "store").mkdir()
    released = release(place.cache, place.entries()[CHANGED])
    assert released is not None
    store = Machine(place.folder, f"file:{tmp_path}/store").store()
    assert push(store, place.cache, released.entry) == "released"
    assert list((tmp_path / "store").rglob("cas/*/*")) == []


def test_it_is_fetched_instead_of_rebuilt(tmp_path):
    from shared_machines import Machine

    (tmp_path / "store").mkdir()
    store = Machine(tmp_path / "one", f"file:{tmp_path}/store").store()
    place = Retained(tmp_path / "one", keep="all", store=store)
    place.run()
    released = release(place.cache, place.entries()[CHANGED])
    assert released is not None
    plan = place.pipeline().plan()
    assert [item.name for item in plan.to_run()] == []
    made = place.run(asked=[CHANGED])
    assert (made.executed, place.told) == ([], [])
    assert place.whole() == sorted(MADE)
