"""`qairt cache push | pull | status`, `plan` and `verify` with a shared store."""

from __future__ import annotations

import pytest

INLINE = ("--executor", "inline")


@pytest.fixture
def store(place, monkeypatch):
    """A folder that machines share, to read and write."""
    folder = place / "store"
    folder.mkdir()
    monkeypatch.setenv("QAIRT_STORE", f"{{url: 'file:{folder}', mode: read-write}}")
    return f"file:{folder}"


@pytest.fixture
def finished(qairt, place, monkeypatch):
    """A finished run on a machine without a store."""
    monkeypatch.setenv("QAIRT_STORE", "off")
    assert qairt("run", "toy.yaml", *INLINE).code == 0


def test_push_then_pull(finished, qairt, store):
    said = qairt("cache", "push", "toy.yaml")
    assert said.code == 0
    assert said.out.splitlines()[-1] == f"5 entries added to {store}, 0 were there"
    assert qairt("cache", "push", "toy.yaml").out == f"0 entries added to {store}, 5 were there\n"
    said = qairt("cache", "pull", "toy.yaml", "--cache-dir", "other")
    assert said.code == 0
    assert said.out.splitlines()[-1] == "5 items fetched, 141 B; 0 were here, 0 are to be built"
    assert qairt("plan", "toy.yaml", "--cache-dir", "other", "--json").data["to_run"] == 0
    assert qairt("cache", "list", "--cache-dir", "other").out.splitlines()[-1].startswith("5 entries, ")
    run = qairt("run", "toy.yaml", "--cache-dir", "other", *INLINE, "--json").events
    assert (run[-1]["executed"], run[-1]["cached"]) == (0, 5)


def test_status(finished, qairt, store):
    assert qairt("cache", "status", "toy.yaml").out == (
        f"{store} (read-write): it answers\n"
        "5 items: 5 here, 0 in the store (0 B to fetch, ~0.0 s), 0 to be built\n"
        "5 results of this cache not in the store yet (165 B): `qairt cache push`\n"
    )
    qairt("cache", "push", "toy.yaml")
    assert qairt("cache", "status", "toy.yaml", "--cache-dir", "other").out == (
        f"{store} (read-write): it answers\n5 items: 0 here, 5 in the store (141 B to fetch, ~0.5 s), 0 to be built\n"
    )
    data = qairt("cache", "status", "toy.yaml", "--json").data
    assert (data["problem"], data["here"], data["not_stored"], data["mode"]) == (None, 5, 0, "read-write")


def test_a_plan_compares_fetching_with_building(finished, qairt, store):
    qairt("cache", "push", "toy.yaml")
    lines = qairt("plan", "toy.yaml", "--cache-dir", "other").out.splitlines()
    assert any(
        line.startswith("5 items in the store, 141 B to fetch, ~0.5 s (building: ~1.4 s); 0 items") for line in lines
    )
    assert lines[-1].endswith("in the store: 43 B to fetch, about 0.1 s; building takes about 1.0 s")


def test_a_store_that_is_not_there(finished, qairt, store, place):
    (place / "store").rmdir()
    why = f"there is no folder {place}/store: mount it, or create it"
    said = qairt("cache", "push", "toy.yaml")
    assert (said.code, said.err) == (
        1,
        f"Error: {store}: the store cannot be used: {why}\n  run this again later: what was sent is not sent again\n",
    )
    said = qairt("cache", "status", "toy.yaml")
    assert (said.code, said.out.splitlines()[0]) == (1, f"{store} (read-write): {why}")
    said = qairt("cache", "pull", "toy.yaml", "--cache-dir", "other")
    assert said.code == 1
    assert said.out.splitlines() == [
        f"the store {store} cannot be used: {why}; going on without it",
        "0 items fetched, 0 B; 0 were here, 5 are to be built",
    ]
    said = qairt("plan", "toy.yaml", "--cache-dir", "other")
    assert said.code == 0
    assert f"the store {store} cannot be used: {why}; going on without it" in said.err


def test_no_store_and_a_store_that_is_only_read(finished, qairt, store, monkeypatch):
    monkeypatch.setenv("QAIRT_STORE", store)
    said = qairt("cache", "push", "toy.yaml")
    assert (said.code, said.err) == (
        2,
        f"Error: {store}: this store is only read\n  set {{url: {store}, mode: read-write}}\n",
    )
    monkeypatch.setenv("QAIRT_STORE", "off")
    for command in ("push", "pull", "status"):
        said = qairt("cache", command, "toy.yaml")
        assert (said.code, said.err.splitlines()[0]) == (2, "Error: no shared store is set")


def test_verify_names_two_results_of_the_same_inputs(finished, qairt, store, place, monkeypatch):
    from qairt.engine.shared_store import stored as records

    monkeypatch.setattr("qairt.engine.shared_store.builders.this_host", lambda: "box9")
    qairt("cache", "push", "toy.yaml")
    assert qairt("cache", "verify", "toy.yaml").out == "5 intact entries, 165 B read\n"
    entry = next((place / "store" / "ac").rglob("*/*"))
    first = records.parsed(entry.read_bytes(), entry.name)
    files = {name: {"size": 3, "sha256": "0" * 64} for name in first.files}
    made_by = {"host": "box9", "qairt": "9.9", "tools": "onnxruntime 1.0"}
    other = first.model_copy(update={"files": files, "made_by": made_by, "timestamp": "2026-01-02T03:04:05+00:00"})
    place_of_other = place / "store" / records.rival_name(other)
    place_of_other.parent.mkdir(parents=True)
    place_of_other.write_bytes(records.written(other))
    said = qairt("cache", "verify", "toy.yaml")
    assert said.code == 0
    assert said.out.splitlines()[1] == (
        f"{first.stage} {first.label} ({first.key[:8]}) has several results in the store, made from the same inputs: "
        f"of {first.host} ({first.timestamp[:16]}, qairt 0.1.0), which is used, and of box9 (2026-01-02T03:04, "
        "qairt 9.9, onnxruntime 1.0)"
    )
