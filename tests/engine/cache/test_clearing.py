"""What clearing would do, and when it is refused."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from filled_cache import SIZE, fill, key_of, planned, put, ran, state_of

from qairt.engine.cache.cache import StageCache
from qairt.engine.cache.clearing import preview, preview_items, short_names
from qairt.engine.cache.store import Store
from qairt.engine.record import events as ev
from qairt.engine.record.folder import new_run_folder
from qairt.engine.record.state import RunState
from qairt.files import append_line

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


def test_an_item_and_what_is_made_from_it(store):
    found = preview_items(store, state_of(store.entries()), ("convert", "ar1-split1"), "item")
    assert found.title == "convert ar1-split1"
    assert names(found.entries) == ["convert ar1-split1"]
    assert found.seconds_to_rebuild == 60
    assert found.dependents == {"quantize": 1, "export_bundle": 1}
    assert found.refused is None
    assert found.other_recipes == ()
    assert found.bytes == store.freed_by(found.entries) < 100  # quantize holds the same big file


def test_with_everything_made_from_it(store):
    found = preview_items(store, state_of(store.entries()), ("convert", "ar1-split1"), "item", after=True)
    assert names(found.entries) == ["convert ar1-split1", "quantize ar1-split1", "export_bundle all"]
    assert found.dependents == {"quantize": 1, "export_bundle": 1}
    assert found.seconds_to_rebuild == 180
    assert found.bytes > SIZE - 20


def test_dependents_are_found_though_what_lies_between_is_gone(store):
    state = state_of(store.entries())
    store.clear(store.entries("quantize"))
    found = preview_items(store, state, ("convert", "ar1-split2"), "item", after=True)
    assert names(found.entries) == ["convert ar1-split2", "export_bundle all"]


def test_a_row_is_the_items_that_differ_only_in_their_split(store):
    other = put(StageCache(store.cache_dir), "convert", "ar128-split1")
    state = state_of([*store.entries()])
    row = preview_items(store, state, ("convert", "ar1-split2"), "row", row_axis="split")
    assert row.title == "convert · AR 1 · 2 items"
    assert names(row.entries) == ["convert ar1-split1", "convert ar1-split2"]
    stage = preview_items(store, state, ("convert", "ar1-split2"), "stage")
    assert stage.title == "convert · 3 items"
    assert other.key in [entry.key for entry in stage.entries]
    assert (
        preview_items(store, state, ("export_bundle", "all"), "row", row_axis="split").title
        == "export_bundle · all · 1 item"
    )


def test_what_a_stale_item_was_made_as_last_goes(store):
    items = planned(store.entries("convert"), cached=False)
    state = RunState.of_plan([item.model_copy(update={"key": item.key[::-1], "stale": True}) for item in items])
    found = preview_items(store, state, ("convert", "ar1-split1"), "item")
    assert [entry.key for entry in found.entries] == [key_of("convert", "ar1-split1")]


def test_an_entry_of_another_recipe_at_the_same_place_stays(store):
    fill(store.cache_dir, version="2")
    state = state_of([entry for entry in store.entries() if entry.key == key_of(entry.stage, entry.label)])
    found = preview_items(store, state, ("convert", "ar1-split1"), "stage", after=True)
    assert len(found.entries) == 5
    store.clear(found.entries)
    assert [entry.key for entry in store.entries("convert")] == [
        key_of("convert", f"ar1-split{split}", "2") for split in (1, 2)
    ]


def test_nothing_kept(store):
    state = state_of(store.entries())
    store.clear(store.entries())
    found = preview_items(store, state, ("convert", "ar1-split1"), "stage")
    assert (found.entries, found.bytes, found.refused) == ((), 0, "it has no entries in the cache")


def test_other_recipes_that_used_it_last_are_named(store):
    entries = store.entries()
    ran(store.cache_dir, "/recipes/own.yaml", entries)
    ran(store.cache_dir, "/recipes/other.yaml", entries[:1])
    ran(store.cache_dir, "/recipes/former.yaml", entries)
    ran(store.cache_dir, "/recipes/former.yaml", [])
    state = state_of(entries)
    assert preview_items(store, state, ("convert", "ar1-split1"), "stage").other_recipes == ("other.yaml",)
    assert preview_items(store, state, ("convert", "ar1-split1"), "stage").shared == 1
    assert preview_items(store, state, ("convert", "ar1-split2"), "item").other_recipes == ()
    assert store.recipes_by_key()[entries[0].key] == ["/recipes/own.yaml", "/recipes/other.yaml"]
    assert short_names(["/a/x.yaml", "/b/x.yaml", "/b/y.yaml"]) == ("/a/x.yaml", "/b/x.yaml", "y.yaml")


def test_damaged_events_name_no_recipe(store):
    ran(store.cache_dir, "/recipes/other.yaml", store.entries())
    (events,) = store.state_folder.glob("runs/*/events.jsonl")
    for content in (b"", b"{", b'{"type":"run_started"}', b'{"type":"stage_started","stage":"x"}', b"[" * 50_000):
        events.write_bytes(content)
        assert Store(store.cache_dir).recipes_by_key() == {}


def run_of(entries, *events: ev.Event) -> RunState:
    state = RunState()
    state.apply(
        ev.RunStarted(run_id="0007", recipe="r", cache_dir="c", pid=1, jobs=1, memory=1, items=planned(entries))
    )
    for event in events:
        state.apply(event)
    return state


def hit(entry) -> ev.Event:
    return ev.CacheHit(stage=entry.stage, label=entry.label, key=entry.key)


def start(entry) -> ev.Event:
    return ev.ItemStarted(stage=entry.stage, label=entry.label, key=entry.key, reason="", log="", threads=1)


def test_refused_while_it_runs_or_is_still_needed_by_what_runs(store):
    entries = store.entries()
    convert1, convert2, quantize1, quantize2, bundle = entries
    state = run_of(entries, hit(convert1), hit(convert2), hit(quantize2), start(quantize1))
    assert preview_items(store, state, ("quantize", "ar1-split1"), "stage").refused == "quantize ar1-split1 is running"
    needed = "convert ar1-split1 is still needed by quantize ar1-split1 of run 0007"
    assert preview_items(store, state, ("convert", "ar1-split1"), "item").refused == needed
    needed = "convert ar1-split2 is still needed by export_bundle all of run 0007"
    assert preview_items(store, state, ("convert", "ar1-split2"), "item").refused == needed
    for event in (hit(quantize1), hit(bundle)):
        state.apply(event)
    assert preview_items(store, state, ("convert", "ar1-split2"), "stage", after=True).refused is None


def test_refused_while_another_run_in_this_directory_needs_it(store):
    folder = new_run_folder(store.state_folder)
    entries = store.entries()
    started = ev.RunStarted(
        run_id=folder.id, recipe="r", cache_dir="c", pid=1, jobs=1, memory=1, items=planned(entries)
    )
    with folder.held("r", (), detached=False):
        append_line(folder.events, started.model_dump())
        append_line(folder.events, start(entries[0]).model_dump())
        assert preview(store, entries[:1]).refused == "convert ar1-split1 is running"
    assert preview(store, entries[:1]).refused is None


def test_refused_while_another_process_holds_its_lock(store):
    (entry,) = store.entries("convert", "ar1-split1")
    locks = store.state_folder / "locks"
    locks.mkdir(exist_ok=True)
    assert not store.is_locked(entry.key)
    lock = locks / f"{entry.key[:16]}.lock"
    child = subprocess.Popen(
        [sys.executable, "-c", WAIT, str(lock)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    try:
        assert child.stdout.readline() == "held\n"
        assert preview(store, [entry]).refused == "convert ar1-split1 is being built by a run"
    finally:
        child.communicate("")
    assert preview(store, [entry]).refused is None
