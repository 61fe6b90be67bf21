"""A cache directory without its recipe: who uses what, what a clear would do, and when it must not."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from filelock import FileLock
from filled_cache import fill, put

from qairt.engine.cache.cache import StageCache
from qairt.engine.cache.store import Store
from qairt.errors import CacheError

WAIT = """
import sys
from filelock import FileLock
with FileLock(sys.argv[1]):
    print("held", flush=True)
    sys.stdin.read()
"""


@pytest.fixture
def store(tmp_path: Path) -> Store:
    fill(tmp_path)
    return Store(tmp_path)


def names(entries) -> list[str]:
    return [f"{entry.stage} {entry.label}" for entry in entries]


def test_prune_takes_files_that_a_killed_process_was_writing(store):
    left, now = (store.state_folder / f".writing-metrics.json.{name}" for name in ("a", "b"))
    left.touch()
    now.touch()
    os.utime(left, (1e9, 1e9))
    assert store.prune() == (0, 1)
    assert now.exists()
    assert not left.exists()


def test_prune_leaves_alone_what_a_run_is_making(store):
    cache = StageCache(store.cache_dir)
    key = "ab" * 32
    work = cache.working_directory("convert", key)
    (store.state_folder / "locks").mkdir()
    with FileLock(store.state_folder / "locks" / f"{key[:16]}.lock"):
        assert store.prune() == (0, 0)
        assert work.is_dir()
    assert store.prune() == (0, 1)
    assert not work.exists()


def test_following_a_whole_stage_takes_what_stands_behind_it(store):
    put(StageCache(store.cache_dir), "quantize", "ar5")
    whole = store.with_dependents(store.entries("convert"), whole_stage="convert")
    assert names(whole) == names(store.entries())
    assert "quantize ar5" not in names(store.with_dependents(store.entries("convert")))


def test_an_entry_whose_file_is_gone_frees_what_is_left(store):
    (entry,) = store.entries("convert", "ar1-split1")
    (entry.directory / "big.bin").unlink()
    assert store.freed_by([entry]) == len("convert ar1-split1 ")


def test_a_prune_that_may_not_delete_says_so(store, monkeypatch):
    store.clear(store.entries())
    store.trash.empty()

    def refuse(path, missing_ok=False):
        raise PermissionError(13, "Permission denied", str(path))

    monkeypatch.setattr(Path, "unlink", refuse)
    with pytest.raises(CacheError, match="unused files cannot be deleted: Permission denied\n  this needs"):
        store.prune()
