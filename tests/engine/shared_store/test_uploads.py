"""Adding to a store: contents before records, and every place where a writer can die or meet another one."""

from __future__ import annotations

import dataclasses
import io
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
import toy_stages as toy
from shared_machines import CALM, Machine
from wait import until

from qairt.engine.cache.cache import StageCache
from qairt.engine.cache.entry import files_digest
from qairt.engine.shared_store.folder_objects import FolderObjects
from qairt.engine.shared_store.settings import StoreSettings
from qairt.engine.shared_store.shared_store import SharedStore
from qairt.engine.shared_store.stored import content_name, entry_name, parsed, stored_of, written
from qairt.engine.shared_store.uploads import Uploads, push


class Died(BaseException):
    """The process ends here."""


class Mortal(FolderObjects):
    """Dies before the operation of this number; 0: never. Nothing works after that."""

    def __init__(self, folder: Path, dies_at: int = 0) -> None:
        super().__init__(folder)
        self.left, self.done = dies_at, []

    def _step(self, *what: str) -> None:
        self.done.append(what)
        if self.left == len(self.done):
            raise Died

    def put(self, name, file):
        self._step("put", name)
        super().put(name, file)

    def create(self, name, content):
        self._step("create", name)
        return super().create(name, content)

    def replace(self, name, content):
        self._step("replace", name)
        super().replace(name, content)

    def size(self, name):
        self._step("size", name)
        return super().size(name)


@pytest.fixture
def built(tmp_path):
    """The cache of a machine that has run without a store."""
    machine = Machine(tmp_path / "one", "file:/nowhere", mode="read")
    machine.run()
    return StageCache(machine.folder)


@pytest.fixture
def place(tmp_path):
    (tmp_path / "store").mkdir()
    return tmp_path / "store"


def opened(place: Path, state: Path, objects: FolderObjects | None = None) -> SharedStore:
    store = SharedStore(StoreSettings(url=f"file:{place}", mode="read-write"), state, CALM)
    if objects is not None:
        store._objects = objects
        store._id = "of this test"
    return store


def source_of(cache: StageCache):
    (entry,) = cache.entries("source")
    return entry


def files_in(place: Path) -> dict[str, bytes]:
    return {path.relative_to(place).as_posix(): path.read_bytes() for path in place.rglob("*") if path.is_file()}


def test_contents_go_first_and_only_once(place, built, tmp_path):
    objects = Mortal(place)
    store = opened(place, tmp_path, objects)
    entry = source_of(built)
    assert push(store, built, entry) == "stored"
    changes = [what for what, _ in objects.done if what != "size"]
    assert changes == ["put", "put", "create"]
    assert push(store, built, entry) == "there"
    again = opened(place, tmp_path / "unknown", Mortal(place))
    assert push(again, built, entry) == "there"
    assert [what for what, _ in again._objects.done if what != "size"] == []


@pytest.mark.parametrize("dies_at", range(1, 6))
def test_a_writer_that_dies_leaves_no_record_without_contents(place, built, tmp_path, dies_at):
    entry = source_of(built)
    with pytest.raises(Died):
        push(opened(place, tmp_path, Mortal(place, dies_at)), built, entry)
    left = files_in(place)
    for name in left:
        if name.startswith("ac/"):
            record = parsed(left[name], name.rpartition("/")[2])
            assert all(content_name(digest) in left for digest in record.contents())
    survivor = Mortal(place)
    assert push(opened(place, tmp_path / "other", survivor), built, entry) in ("stored", "there")
    sent = [name for what, name in survivor.done if what == "put"]
    assert not set(sent) & left.keys(), "what was sent is not sent again"
    stored = stored_of(entry)
    assert files_in(place)[entry_name(stored.action)] == written(stored)


def two_results(tmp_path) -> list[StageCache]:
    """Two machines that made different bytes under the same key."""
    said_by, caches = tmp_path / "said.txt", []
    for name in ("first", "second"):
        said_by.write_text(name)
        machine = Machine(tmp_path / name, "file:/nowhere", mode="read")
        machine.stages = (toy.Chance(toy.ChanceConfig(said_by=said_by)),)
        machine.run()
        caches.append(StageCache(machine.folder))
    return caches


def test_of_two_results_the_first_stays_and_both_are_recorded(place, tmp_path):
    first, second = two_results(tmp_path)
    assert push(opened(place, tmp_path / "a"), first, source_of(first)) == "stored"
    assert push(opened(place, tmp_path / "b"), second, source_of(second)) == "rival"
    one, other = stored_of(source_of(first)), stored_of(source_of(second))
    assert one.action == other.action
    found = files_in(place)
    assert parsed(found[entry_name(one.action)], one.action) == one
    assert parsed(found[f"rivals/{one.action}/{files_digest(other.files)}"], one.action) == other


def test_two_writers_at_once(place, tmp_path):
    """The second one adds its record while the first is about to add its own."""
    first, second = two_results(tmp_path)

    class Meanwhile(FolderObjects):
        def create(self, name, content):
            if name.startswith("ac/"):
                assert push(opened(place, tmp_path / "b"), second, source_of(second)) == "stored"
            return super().create(name, content)

    assert push(opened(place, tmp_path / "a", Meanwhile(place)), first, source_of(first)) == "rival"
    used = stored_of(source_of(second))
    assert parsed(files_in(place)[entry_name(used.action)], used.action) == used


def test_races_of_two_writers(place, tmp_path):
    """Whoever is first, its record and its bytes are there, and the other one's record beside it."""
    first, second = two_results(tmp_path)
    for race in range(20):
        folder = tmp_path / f"race{race}"
        folder.mkdir()
        FolderObjects(folder).create("qairt-store.json", b'{"format": 1, "id": "x"}')
        stores = [opened(folder, tmp_path / f"{name}{race}") for name in "ab"]
        with ThreadPoolExecutor(2) as both:
            writers = zip(stores, (first, second), strict=True)
            results = [both.submit(push, store, cache, source_of(cache)) for store, cache in writers]
        outcome = [result.result() for result in results]
        assert sorted(outcome) == ["rival", "stored"]
        used = stored_of(source_of((first, second)[outcome.index("stored")]))
        found = files_in(folder)
        assert parsed(found[entry_name(used.action)], used.action) == used
        assert all(content_name(digest) in found for digest in used.contents())
        assert sum(name.startswith("rivals/") for name in found) == 1


@pytest.mark.parametrize("damage", ["gone", "short", "record"])
def test_a_broken_entry_is_replaced(place, tmp_path, damage):
    first, second = two_results(tmp_path)
    push(opened(place, tmp_path / "a"), first, source_of(first))
    broken, ours = stored_of(source_of(first)), stored_of(source_of(second))
    content = place / content_name(next(iter(broken.contents())))
    if damage == "gone":
        content.unlink()
    elif damage == "short":
        content.chmod(0o644)
        content.write_bytes(b"")
    else:
        record = place / entry_name(broken.action)
        record.chmod(0o644)
        record.write_bytes(b"{}")
    assert push(opened(place, tmp_path / "b"), second, source_of(second)) == "stored"
    assert parsed(files_in(place)[entry_name(ours.action)], ours.action) == ours


def test_what_is_damaged_here_is_not_sent(place, built, tmp_path):
    entry = source_of(built)
    text = entry.directory / "text.txt"
    text.chmod(0o644)
    text.write_text("HELLO")
    assert push(opened(place, tmp_path), built, entry) == "gone"
    assert [name for name in files_in(place) if name.startswith("ac/")] == []


def test_an_entry_of_an_earlier_version_stays_here(place, built, tmp_path):
    assert push(opened(place, tmp_path), built, dataclasses.replace(source_of(built), read=None)) == "unknown sources"
    assert files_in(place) == {}


def test_uploads_go_on_when_the_store_is_back(place, built, tmp_path):
    store = opened(place, tmp_path)
    store.limits = dataclasses.replace(CALM, away=0.2)
    store._away = 0.2
    place.rename(tmp_path / "away")
    uploads = Uploads(store, built)
    for entry in built.entries():
        uploads.add(entry)
    until(store.is_away)
    (tmp_path / "away").rename(place)
    until(lambda: uploads.pushed.get("stored") == 5)
    assert uploads.close(5).entries == 0


def test_nobody_waits_for_uploads_that_have_ended(place, built, tmp_path, monkeypatch):
    def unexpected(*of):
        raise RuntimeError

    monkeypatch.setattr("qairt.engine.shared_store.uploads.push", unexpected)
    uploads = Uploads(opened(place, tmp_path), built)
    entries = list(built.entries())
    for entry in entries:
        uploads.add(entry)
    assert uploads.close(3600).entries == len(entries)


def test_records_hold_nothing_of_the_machine(place, tmp_path):
    machine = Machine(tmp_path / "a-place-of-its-own", f"file:{place}")
    machine.run()
    for name, content in files_in(place).items():
        assert b"a-place-of-its-own" not in content, name


def test_a_name_outside_the_entry_is_refused(built):
    stored = stored_of(source_of(built))
    for name in ("../x", "/x", "a/../../x", "cache_entry.json", "./x", "a//b"):
        evil = stored.model_copy(update={"files": {name: {"size": 1, "sha256": "0" * 64}}})
        assert parsed(written(evil), stored.action) is None
    assert parsed(written(stored), stored.action) == stored
    assert parsed(written(stored), "0" * 64) is None
    wrong = stored.model_copy(update={"read": {"other all": "0" * 64}})
    assert parsed(written(wrong), stored.action) is None
    assert parsed(io.BytesIO(written(stored)).read()[:-20], stored.action) is None
