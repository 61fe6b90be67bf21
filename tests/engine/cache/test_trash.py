"""Clearing moves entries and their records away; undoing brings back the same files, whenever a process was killed."""

from __future__ import annotations

import errno
import json
import os
from pathlib import Path

import pytest
from filled_cache import fill, put, snapshot

from qairt.engine.cache import trash as trash_module
from qairt.engine.cache.cache import StageCache
from qairt.engine.cache.manifest import PipelineManifest
from qairt.engine.cache.store import Store
from qairt.errors import CacheError


@pytest.fixture
def store(tmp_path: Path) -> Store:
    fill(tmp_path)
    return Store(tmp_path)


def manifest_of(store: Store) -> Path:
    return store.state_folder / "manifest.json"


def names(store: Store) -> list[str]:
    return [f"{entry.stage} {entry.label}" for entry in store.entries()]


ALL = [
    "convert ar1-split1",
    "convert ar1-split2",
    "quantize ar1-split1",
    "quantize ar1-split2",
    "export_bundle all",
]


def test_undo_brings_back_the_same_files_and_the_same_manifest(store):
    before = snapshot(store.cache_dir)
    cleared = store.clear(store.entries("quantize"))
    assert [moved.name for moved in cleared.entries] == ["quantize ar1-split1", "quantize ar1-split2"]
    assert names(store) == ["convert ar1-split1", "convert ar1-split2", "export_bundle all"]
    assert list(json.loads(manifest_of(store).read_bytes())["stages"]) == ["convert", "export_bundle"]
    back = store.undo()
    assert back.entries == cleared.entries
    assert snapshot(store.cache_dir) == before
    assert store.undo() is None
    assert [entry.altered() for entry in store.entries()] == [None] * 5


def test_undo_goes_back_step_by_step(store):
    states = []
    for stage in ("convert", "quantize", "export_bundle"):
        states.append(snapshot(store.cache_dir))
        store.clear(store.entries(stage))
    assert names(store) == []
    assert [moved.stage for moved in store.trash.entries()] == ["export_bundle", "quantize", "quantize"] + 2 * [
        "convert"
    ]
    for state in reversed(states):
        assert store.undo() is not None
        assert snapshot(store.cache_dir) == state
    assert store.undo() is None


def test_a_manifest_that_changed_meanwhile_gets_only_the_records_of_what_comes_back(store):
    (first, second) = store.entries("quantize")
    record = PipelineManifest(store.cache_dir).read()["stages"]["quantize"]["items"]["ar1-split1"]
    store.clear([first])
    PipelineManifest(store.cache_dir).update_item("quantize", "ar128", {"cache_key": "new"})
    PipelineManifest(store.cache_dir).change(lambda stages: stages["quantize"]["items"].pop("ar1-split2"))
    store.undo()
    items = PipelineManifest(store.cache_dir).read()["stages"]["quantize"]["items"]
    assert items["ar1-split1"] == record
    assert set(items) == {"ar128", "ar1-split1"}


def test_records_of_another_key_stay_and_a_record_made_meanwhile_stays(store):
    newer = put(StageCache(store.cache_dir), "convert", "ar1-split1", version="2")
    older = next(entry for entry in store.entries("convert", "ar1-split1") if entry.key != newer.key)
    before = manifest_of(store).read_bytes()
    store.clear([older])
    assert manifest_of(store).read_bytes() == before
    store.undo()
    store.clear([newer])
    PipelineManifest(store.cache_dir).update_item("convert", "ar1-split1", {"cache_key": "newest"})
    store.undo()
    record = PipelineManifest(store.cache_dir).read()["stages"]["convert"]["items"]["ar1-split1"]
    assert record["cache_key"] == "newest"


def test_what_was_made_again_stays_and_the_rest_comes_back(store):
    store.clear(store.entries("convert"))
    new = put(StageCache(store.cache_dir), "convert", "ar1-split1")
    inode = (new.directory / "note.txt").stat().st_ino
    back = store.undo()
    assert [moved.name for moved in back.entries] == ["convert ar1-split2"]
    assert [moved.name for moved in back.superseded] == ["convert ar1-split1"]
    assert (new.directory / "note.txt").stat().st_ino == inode
    assert names(store) == ALL
    assert [moved.name for moved in store.trash.entries()] == ["convert ar1-split1"]
    assert store.trash.undoable() == ()


def test_undo_refuses_when_all_of_it_was_made_again_and_then_goes_further_back(store):
    store.clear(store.entries("quantize"))
    store.clear(store.entries("convert"))
    for label in ("ar1-split1", "ar1-split2"):
        put(StageCache(store.cache_dir), "convert", label)
    made = snapshot(store.cache_dir)
    with pytest.raises(CacheError) as raised:
        store.undo()
    assert raised.value.what == (
        "convert ar1-split1, convert ar1-split2 cannot be restored: rebuilt since then, and the new entries are kept"
    )
    assert snapshot(store.cache_dir) == made
    assert [moved.stage for moved in store.undo().entries] == ["quantize", "quantize"]
    assert names(store) == ALL


def test_prune_frees_what_was_told_and_nothing_comes_back(store):
    entries = store.entries("convert") + store.entries("quantize")
    told = store.freed_by(entries)
    assert told > 40_000  # the big files, which the two stages share, once each
    assert store.clear(entries).bytes == told
    assert store.bytes_in_trash() >= told
    on_disk = store.bytes_on_disk()
    assert StageCache(store.cache_dir).drop_unused_blobs() == 0  # they are still linked from the trash
    assert store.prune() == (4, 0)
    assert on_disk - store.bytes_on_disk() >= told
    assert len(list((store.state_folder / "blobs").iterdir())) == 1
    assert store.undo() is None
    assert store.trash.entries() == []


def test_bytes_that_others_hold_are_not_freed(store):
    assert store.freed_by(store.entries("convert")) < 100
    store.clear(store.entries("convert"))
    assert store.freed_by(store.entries("quantize")) > 40_000


def test_a_clear_of_nothing_does_nothing(store):
    assert store.clear([]).entries == ()
    assert not store.trash.folder.exists()
    assert store.undo() is None
    assert store.prune() == (0, 0)


class Killed(BaseException):
    """The process ends here."""


def kill_at(monkeypatch: pytest.MonkeyPatch, step: int) -> None:
    """Raise instead of the change to the disk with that number, counted from now."""
    left = [step]

    def counted(function):
        def call(*args, **kwargs):
            if left[0] == 0:
                raise Killed
            left[0] -= 1
            return function(*args, **kwargs)

        return call

    for name in ("rename", "replace", "mkdir", "unlink", "rmdir"):
        monkeypatch.setattr(os, name, counted(getattr(os, name)))


@pytest.mark.parametrize("act", ["clear", "undo"])
def test_a_kill_at_any_moment_loses_nothing(tmp_path, monkeypatch, act):
    survived = 0
    for step in range(60):
        cache_dir = tmp_path / f"{act}{step}"
        fill(cache_dir)
        whole = snapshot(cache_dir)
        store = Store(cache_dir)
        entries = store.entries("convert") + store.entries("export_bundle")
        if act == "undo":
            store.clear(entries)
        with monkeypatch.context() as patched:
            kill_at(patched, step)
            try:
                store.clear(entries) if act == "clear" else store.undo()
                survived += 1
            except Killed:
                pass
        again = Store(cache_dir)
        if again.trash.undoable():
            assert [moved.key for moved in again.trash.undoable()] == [entry.key for entry in entries]
            assert names(again) == ["quantize ar1-split1", "quantize ar1-split2"]
            again.undo()
        assert snapshot(cache_dir) == whole
        assert again.trash.entries() == []
        if survived:
            break
    assert survived
    assert step > 8


def test_what_was_half_cleared_is_not_brought_over_what_a_run_made_since(store, monkeypatch):
    entries = store.entries("convert")
    with monkeypatch.context() as patched:
        rename = os.rename
        seen = []

        def once(source, target):
            if seen:
                raise Killed
            seen.append(rename(source, target))

        patched.setattr(os, "rename", once)
        with pytest.raises(Killed):
            store.clear(entries)
    new = put(StageCache(store.cache_dir), "convert", "ar1-split1")
    inode = (new.directory / "note.txt").stat().st_ino
    again = Store(store.cache_dir)
    assert names(again) == ALL
    assert (new.directory / "note.txt").stat().st_ino == inode
    assert [moved.name for moved in again.trash.entries()] == ["convert ar1-split1"]
    assert again.prune() == (1, 0)


def test_a_kill_while_pruning_brings_nothing_half_deleted_back(store, monkeypatch):
    store.clear(store.entries("convert"))
    with monkeypatch.context() as patched:
        patched.setattr(trash_module.shutil, "rmtree", lambda path: (_ for _ in ()).throw(Killed()))
        with pytest.raises(Killed):
            store.prune()
    again = Store(store.cache_dir)
    assert again.undo() is None
    again.prune()
    assert [path.name for path in again.trash.folder.iterdir() if path.name.isdecimal()] == []


@pytest.mark.parametrize("failing", [0, 1])
def test_when_an_entry_cannot_be_moved_all_stay(store, monkeypatch, failing):
    before = snapshot(store.cache_dir)
    moved = []
    rename = os.rename

    def refuse(source, target):
        moved.append(source)
        if len(moved) == failing + 1:
            raise OSError(errno.EROFS, "Read-only file system", str(source))
        return rename(source, target)

    with monkeypatch.context() as patched:
        patched.setattr(os, "rename", refuse)
        with pytest.raises(CacheError) as raised:
            store.clear(store.entries("convert"))
    assert raised.value.what == "nothing was cleared: Read-only file system"
    assert raised.value.remedy == "this needs write access to the cache directory"
    assert snapshot(store.cache_dir) == before
    assert store.trash.entries() == []
    assert store.undo() is None


def test_an_undo_that_fails_can_be_tried_again(store, monkeypatch):
    before = snapshot(store.cache_dir)
    store.clear(store.entries("convert"))

    def refuse(source, target):
        raise OSError(errno.EROFS, "Read-only file system", str(source))

    with monkeypatch.context() as patched:
        patched.setattr(os, "rename", refuse)
        with pytest.raises(CacheError, match="nothing was restored: Read-only file system"):
            store.undo()
    assert store.undo() is not None
    assert snapshot(store.cache_dir) == before


def test_a_cache_that_cannot_be_written_is_left_as_it_is(store):
    before = snapshot(store.cache_dir)
    (store.state_folder / "trash").write_text("a file where the folder would be")
    with pytest.raises(CacheError, match="nothing was cleared: "):
        store.clear(store.entries("convert"))
    (store.state_folder / "trash").unlink()
    assert snapshot(store.cache_dir) == before


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_a_read_only_directory(store):
    before = snapshot(store.cache_dir)
    store.state_folder.chmod(0o555)
    try:
        with pytest.raises(CacheError, match="nothing was cleared: Permission denied"):
            store.clear(store.entries("convert"))
        assert Store(store.cache_dir).undo() is None
    finally:
        store.state_folder.chmod(0o755)
    assert snapshot(store.cache_dir) == before


@pytest.mark.parametrize(
    "journal", ["", "{", '{"step": "cleared"}', '{"v": 9}', b"\xff", "outside"], ids=lambda value: repr(value)[:12]
)
def test_a_damaged_journal_brings_nothing_back_and_is_pruned(store, journal):
    store.clear(store.entries("convert"))
    path = store.trash.folder / "1" / "journal.json"
    if journal == "outside":
        journal = path.read_text().replace("convert/convert_", "../../convert_")
    path.write_bytes(journal if isinstance(journal, bytes) else journal.encode())
    assert Store(store.cache_dir).undo() is None
    assert store.trash.entries() == []
    store.prune()
    assert not path.parent.exists()


def test_trash_is_no_stage(store):
    store.clear(store.entries())
    assert store.stage_names() == []
    cache = StageCache(store.cache_dir)
    assert list(cache.entries()) == []
    cache.clear()
    assert store.undo() is not None
    assert names(store) == ALL
