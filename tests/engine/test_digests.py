"""`FileDigests`: each file is hashed once, until it changes."""

from __future__ import annotations

import hashlib
import json
import os

import pytest

from qairt.engine import digests
from qairt.engine.digests import FileDigests, stamp_of


@pytest.fixture
def hashed(monkeypatch) -> list[str]:
    """The names of files that were really hashed."""
    names: list[str] = []
    real = digests.sha256_of

    def count(path):
        names.append(path.name)
        return real(path)

    monkeypatch.setattr(digests, "sha256_of", count)
    return names


@pytest.fixture
def file(tmp_path):
    path = tmp_path / "calib.txt"
    path.write_text("one")
    return path


def sha(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


def test_a_file_is_hashed_once_also_by_the_next_run(tmp_path, file, hashed):
    store = tmp_path / "digests.json"
    first = FileDigests(store)
    assert [first.digest(file), first.digest(file), FileDigests(store).digest(file)] == [sha("one")] * 3
    assert hashed == ["calib.txt"]
    assert json.loads(store.read_text()) == {str(file): [*stamp_of(file), sha("one")]}


def test_without_a_store_it_remembers_for_itself(file, hashed):
    known = FileDigests()
    known.digest(file)
    known.digest(file)
    FileDigests().digest(file)
    assert len(hashed) == 2


@pytest.mark.parametrize("change", ["size", "mtime", "inode"])
def test_a_change_is_seen(tmp_path, file, hashed, change):
    known = FileDigests(tmp_path / "digests.json")
    known.digest(file)
    old = file.stat()
    if change == "inode":
        other = tmp_path / "other"
        other.write_text("two")
        other.replace(file)
    else:
        file.write_text("two" if change == "mtime" else "longer")
    if change != "mtime":
        os.utime(file, ns=(old.st_atime_ns, old.st_mtime_ns))
    else:
        os.utime(file, ns=(old.st_atime_ns, old.st_mtime_ns + 1))
    assert known.digest(file) == sha(file.read_text()) != sha("one")
    assert len(hashed) == 2


def test_links_and_relative_paths_are_the_file_they_lead_to(tmp_path, file, hashed, monkeypatch):
    monkeypatch.chdir(tmp_path)
    link = tmp_path / "link.txt"
    link.symlink_to(file)
    known = FileDigests(tmp_path / "digests.json")
    relative = file.relative_to(tmp_path)
    assert {known.digest(file), known.digest(link), known.digest(relative)} == {sha("one")}
    assert len(hashed) == 1


@pytest.mark.parametrize("gone", ["missing", "folder"])
def test_what_cannot_be_read_is_an_os_error(tmp_path, gone):
    (tmp_path / "folder").mkdir()
    with pytest.raises(OSError, match=gone):
        FileDigests().digest(tmp_path / gone)


def test_changed_since_seen(tmp_path, file):
    known = FileDigests()
    assert known.changed_since_seen(file)  # never seen
    known.digest(file)
    assert not known.changed_since_seen(file)
    file.write_text("another")
    assert known.changed_since_seen(file)
    known.digest(file)
    assert not known.changed_since_seen(file)
    file.unlink()
    assert known.changed_since_seen(file)


def test_seen_is_of_this_run_only(tmp_path, file):
    FileDigests(tmp_path / "digests.json").digest(file)
    assert FileDigests(tmp_path / "digests.json").changed_since_seen(file)


@pytest.mark.parametrize(
    "entry", ["3", "null", '"abcd"', "[]", "[1, 2, 3]", '{"a": 1}', "STAMP, 5]", "STAMP]", '[1, 2, 3, "x"]']
)
def test_a_damaged_store_costs_time_only(tmp_path, file, hashed, entry):
    store = tmp_path / "digests.json"
    stamp = json.dumps(stamp_of(file))[:-1]
    store.write_text(f"{{{json.dumps(str(file))}: {entry.replace('STAMP', stamp)}}}")
    assert FileDigests(store).digest(file) == sha("one")
    assert hashed == ["calib.txt"]
    assert json.loads(store.read_text())[str(file)][-1] == sha("one")


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b"3", b"\xff", b"[" * 100_000])
def test_a_store_that_is_none(tmp_path, file, content):
    store = tmp_path / "digests.json"
    store.write_bytes(content)
    assert FileDigests(store).digest(file) == sha("one")
    assert list(json.loads(store.read_text())) == [str(file)]


def test_a_store_that_cannot_be_written_is_given_up(tmp_path, file, monkeypatch):
    def refuse(*_: object) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(digests, "write_atomic", refuse)
    known = FileDigests(tmp_path / "digests.json")
    assert known.digest(file) == sha("one")
    assert FileDigests(tmp_path / "no" / "folder" / "digests.json").digest(file) == sha("one")
    assert not (tmp_path / "no").exists()
