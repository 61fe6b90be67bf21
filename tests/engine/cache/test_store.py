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
from qairt.files import lock
from qairt.folders import temporary_folder

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


def test_prune_takes_what_dead_processes_left_and_nothing_that_a_living_one_holds(store):
    """Whatever its name and its age: the maker's lock decides."""
    cache, key = StageCache(store.cache_dir), "ab" * 32
    dead = (
        ".writing-metrics.json.a",
        ".write-test1",
        ".recipe.yaml.b",
        "runs/0001/.writing-host.json.c",
        f"{store.entries('convert')[0].directory.relative_to(store.state_folder)}/.writing-cache_entry.json.d",
        "convert/.resume-0123456789abcdef/step",
        "convert/.making-12345678-x/content/half.bin",
        "convert/.making-job-y/job.json",
        "convert/.bad-convert_1-77/big.bin",
        "../.making-export_bundle-z/lock",
        "../.export_bundle.new/part.bin",
        "../convert/viz/.making-output-u/lock",
        "../convert_outputs/viz/.writing-convert-visualization-v/half.svg",
    )
    for path in (store.state_folder / name for name in dead):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    of_the_user = [store.cache_dir / name for name in (".old-notes", ".making-of", ".other.new")]
    for folder in of_the_user:
        (folder / "mine").mkdir(parents=True)
    locks = store.state_folder / "locks"
    locks.mkdir(exist_ok=True)
    resumed = cache.resume_directory("convert", key)
    resumed.mkdir()
    written = store.state_folder / ".writing-plan.json.d"
    with (
        cache.making("convert", key) as work,
        temporary_folder(store.cache_dir, "export_bundle") as published,
        FileLock(locks / f"{key[:16]}.lock"),
        written.open("w") as file,
    ):
        lock(file.fileno())
        held = (work, published, resumed, written)
        for path in held:
            os.utime(path, (1e9, 1e9))
        assert store.prune() == (0, len(dead))
        assert all(path.exists() for path in held)
        assert not any((store.state_folder / name).exists() for name in dead)
    assert store.prune() == (0, 2)  # of the four, two were deleted by their makers
    assert cache.leftovers() == []
    assert all(folder.is_dir() for folder in of_the_user)


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
