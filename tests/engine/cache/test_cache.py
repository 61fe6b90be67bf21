"""Entries appear whole or not at all, are checked when they are found, and store their bytes once."""

from __future__ import annotations

import errno
import json
import os
import shutil
from pathlib import Path

import pytest
from toy_stages import Source, SourceConfig, Text

from qairt import files
from qairt.engine.cache.cache import StageCache
from qairt.engine.cache.entry import ENTRY, NewEntry, read_entry
from qairt.engine.cache.store import Store
from qairt.errors import CacheError
from qairt.keys import canonical, differing_leaves, digest

KEY = "a" * 64


def put(cache: StageCache, key: str, content: str = "hello", name: str = "text.txt") -> Path:
    with cache.making("source", key) as work:
        (work / name).write_text(content)
        (work / "output.json").write_text(json.dumps({"text": name}))
        return cache.publish(work, NewEntry(key, "source", "all")).directory


def test_keys_chain_and_depend_on_settings():
    one = StageCache.compute_key("source", SourceConfig())
    assert len(one) == 64
    assert one == StageCache.compute_key("source", SourceConfig(), None)
    others = {
        StageCache.compute_key("other", SourceConfig()),
        StageCache.compute_key("source", SourceConfig(text="bye")),
        StageCache.compute_key("source", SourceConfig(), one),
        StageCache.compute_key("source", SourceConfig(), None, (("soc", "SM8650"),)),
    }
    assert len(others | {one}) == 5


def test_layout_is_the_documented_one(tmp_path: Path):
    cache = StageCache(tmp_path)
    directory = put(cache, KEY)
    assert cache.cache_dir == tmp_path / "pipeline_state"
    assert directory == tmp_path / "pipeline_state" / "source" / "source_aaaaaaaa"
    entry = json.loads((directory / ENTRY).read_text())
    assert entry["key"] == KEY
    assert entry["stage_name"] == "source"
    assert entry["artifact_path"] == str(directory)
    assert entry["files"]["text.txt"] == {"size": 5, "sha256": files.sha256_of(directory / "text.txt")}


def test_put_exports_and_get_loads(tmp_path: Path):
    made = tmp_path / "made" / "text.txt"
    made.parent.mkdir()
    made.write_text("content")
    cache = StageCache(tmp_path / "cache")
    assert cache.get(KEY, Source) is None
    cache.put(KEY, Text(text=made), Source(), cache.cache_dir / "source" / "source_aaaaaaaa")
    assert cache.has(KEY)
    output = cache.get(KEY, Source)
    assert isinstance(output, Text)
    assert output.text.read_text() == "content"
    assert output.text.is_relative_to(cache.cache_dir)


def test_clear_one_stage_or_all(tmp_path: Path):
    cache = StageCache(tmp_path)
    for key in ("a" * 64, "b" * 64):
        put(cache, key)
    with cache.making("other", "c" * 64) as work:
        (work / "text.txt").write_text("hello")
        cache.publish(work, NewEntry("c" * 64, "other", "all"))
    cache.clear("source")
    assert [cache.has(letter * 64) for letter in "abc"] == [False, False, True]
    cache.clear()
    assert not cache.has("c" * 64)


def test_write_metrics(tmp_path: Path):
    cache = StageCache(tmp_path)
    cache.write_metrics({"source": {"ram_pss_mb": 1.5}})
    assert json.loads((cache.cache_dir / "metrics.json").read_text()) == {"source": {"ram_pss_mb": 1.5}}


def test_two_keys_that_begin_alike_are_kept_apart(tmp_path: Path):
    cache = StageCache(tmp_path)
    other = "a" * 8 + "b" * 56
    put(cache, KEY, "one")
    put(cache, other, "two")
    assert cache.get(KEY, Source).text.read_text() == "one"
    assert cache.get(other, Source).text.read_text() == "two"


@pytest.mark.parametrize("damage", ["missing", "short", "entry", "no entry", "output"])
def test_a_damaged_entry_is_set_aside_reported_and_never_used(tmp_path: Path, damage: str):
    reports: list[str] = []
    cache = StageCache(tmp_path, lambda path, why: reports.append(why))
    directory = put(cache, KEY)
    match damage:
        case "missing":
            (directory / "text.txt").unlink()
        case "short":
            (directory / "text.txt").write_text("h")
        case "entry":
            (directory / ENTRY).write_text("{")
        case "no entry":
            (directory / ENTRY).unlink()
        case "output":
            (directory / "output.json").write_text(json.dumps({"tixt": "x"}))
            record = json.loads((directory / ENTRY).read_text())
            record["files"]["output.json"]["size"] = (directory / "output.json").stat().st_size
            (directory / ENTRY).write_text(json.dumps(record))
    assert cache.get(KEY, Source) is None
    assert len(reports) == 1
    assert [path.name.split("-")[0] for path in cache.leftovers()] == [".bad"]
    put(cache, KEY)
    assert cache.get(KEY, Source).text.read_text() == "hello"


def test_altered_content_is_found_by_digest(tmp_path: Path):
    cache = StageCache(tmp_path)
    directory = put(cache, KEY)
    (directory / "text.txt").write_text("jello")
    (entry,) = cache.entries()
    assert entry.missing() is None
    assert entry.altered() == "text.txt has different content"


def test_equal_files_are_one_file_on_disk_and_go_with_their_last_entry(tmp_path: Path):
    cache = StageCache(tmp_path)
    text = "x" * 10_000
    one, two = put(cache, KEY, text), put(cache, "b" * 64, text)
    assert os.path.samefile(one / "text.txt", two / "text.txt")
    first, second = sorted(cache.entries(), key=lambda entry: entry.timestamp)
    assert first.new_bytes >= 10_000
    assert second.new_bytes < 100
    shutil.rmtree(first.directory)
    cache.drop_unused_blobs()
    assert (two / "text.txt").read_text() == text
    cache.clear("source")
    assert not list((cache.cache_dir / "blobs").iterdir())


def test_bytes_that_only_cleared_entries_hold_are_those_of_the_entry_that_is_made_again(tmp_path: Path):
    store, text = Store(tmp_path), "x" * 10_000
    directory = put(StageCache(tmp_path), KEY, text)
    first = read_entry(directory)
    assert first.new_bytes > 10_000
    store.clear(store.entries())
    put(StageCache(tmp_path), KEY, text)
    again = read_entry(directory)
    assert again.new_bytes == first.new_bytes
    assert store.bytes_in_trash() < 10_000, "the new entry holds them now"
    store.prune()
    assert store.bytes_by_key() == {KEY: first.new_bytes}


def test_equal_files_are_counted_with_the_oldest_entry(tmp_path: Path):
    cache, store, other = StageCache(tmp_path), Store(tmp_path), "b" * 64
    put(cache, KEY, "x" * 10_000)
    put(cache, other, "x" * 10_000)
    taken = store.bytes_by_key()
    assert taken[KEY] > 10_000 > 100 > taken[other]
    store.clear([entry for entry in store.entries() if entry.key == KEY])
    store.prune()
    assert store.bytes_by_key()[other] == taken[KEY]


def test_a_full_disk_leaves_nothing_behind(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    cache = StageCache(tmp_path)
    put(cache, "b" * 64)
    before = sorted(tmp_path.rglob("*"))

    def full(path: Path) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("qairt.engine.cache.cache.flush_tree", full)
    kept = "; then run again: finished items are kept"
    with pytest.raises(
        CacheError,
        match=f"no space left on device\n  free space on that disk .*{kept}$",
    ):
        put(cache, KEY, "new")
    assert sorted(tmp_path.rglob("*")) == before


def test_atomic_writes_leave_the_old_content_when_they_fail(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    path = tmp_path / "manifest.json"
    files.write_atomic(path, "old")

    def fail(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "fsync", fail)
    with pytest.raises(OSError, match="No space left"):
        files.write_atomic(path, "new")
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


def test_a_torn_last_line_is_left_out(tmp_path: Path):
    path = tmp_path / "events.jsonl"
    files.append_line(path, {"one": 1})
    with path.open("a") as file:
        file.write('{"two": ')
    assert files.read_lines(path) == [{"one": 1}]
    files.append_line(path, {"three": 3})
    assert files.read_lines(path) == [{"one": 1}, {"three": 3}]


def test_canonical_json_has_one_form():
    assert canonical({"b": (1, 2), "a": (("x", 1), ("y", None))}) == '{"a":{"x":1,"y":null},"b":[1,2]}'
    assert digest({"a": 1, "b": 2}) == digest({"b": 2, "a": 1})
    assert differing_leaves({"a": {"b": 1, "c": 2}}, {"a": {"b": 1, "c": 3, "d": 4}}) == [
        ("a.c", 2, 3),
        ("a.d", None, 4),
    ]


def test_a_list_of_named_parts_differs_part_by_part():
    one, two = {"name": "one", "digest": "a"}, {"name": "two", "digest": "b"}
    assert differing_leaves([one, two], [one, {**two, "digest": "c"}], "all") == [("all.two.digest", "b", "c")]
    for other in ([two, one], [one], [one, one], [one, 2], []):
        assert differing_leaves([one, two], other, "all") == [("all", [one, two], other)]
    assert differing_leaves([one, one], [one, two], "all") == [("all", [one, one], [one, two])]
    assert differing_leaves([], [], "all") == []


def test_texts_of_json_objects_differ_where_the_objects_do():
    old, new = '{"ranks": {"q_proj": 4}, "form": "inputs"}', '{"form": "inputs", "ranks": {"q_proj": 8}}'
    assert differing_leaves({"lora": old}, {"lora": new}) == [("lora.ranks.q_proj", 4, 8)]
    assert differing_leaves({"lora": old}, {"lora": old + " "}) == [("lora", old, old + " ")]
    assert differing_leaves({"text": "{"}, {"text": "{}"}) == [("text", "{", "{}")]
