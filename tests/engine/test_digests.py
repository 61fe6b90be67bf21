"""`FileDigests`: each file is hashed once, until it changes."""

from __future__ import annotations

import hashlib
import json
import os

import pytest

from qairt.engine import digests
from qairt.engine.digests import Content, FileDigests


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
    store = tmp_path / "digests.jsonl"
    first = FileDigests(store)
    assert [first.digest(file), first.digest(file), FileDigests(store).digest(file)] == [sha("one")] * 3
    assert hashed == ["calib.txt"]
    status = file.stat()
    assert json.loads(store.read_text()) == {
        "of": [status.st_dev, status.st_ino, ""],
        "stamp": [status.st_size, status.st_mtime_ns, status.st_ctime_ns],
        "sha256": sha("one"),
    }


def test_without_a_store_it_remembers_for_itself(file, hashed):
    known = FileDigests()
    known.digest(file)
    known.digest(file)
    FileDigests().digest(file)
    assert len(hashed) == 2


def in_place(file):
    file.write_text("two")


def another(file):
    other = file.with_name("other")
    other.write_text("two")
    other.replace(file)


def same_inode_number(file):
    """A new file that got the number of the old one: what is left to tell them apart is ctime."""
    file.unlink()
    file.write_text("two")


def keep_time(change):
    def changed(file):
        times = (file.stat().st_atime_ns, file.stat().st_mtime_ns)
        change(file)
        os.utime(file, ns=times)

    return changed


CHANGES = [in_place, another, same_inode_number]


@pytest.mark.parametrize("change", [*CHANGES, *map(keep_time, CHANGES), lambda file: file.write_text("longer")])
@pytest.mark.parametrize("by", ["this process", "the next"])
def test_a_change_is_seen(tmp_path, file, hashed, change, by):
    known = FileDigests(tmp_path / "digests.jsonl")
    known.digest(file)
    change(file)
    if by == "the next":
        known = FileDigests(tmp_path / "digests.jsonl")
    assert known.known(file) is None
    assert known.digest(file) == sha(file.read_text()) != sha("one")
    assert len(hashed) == 2


def test_our_own_links_are_no_change_but_writes_beside_them_are(tmp_path, file, hashed):
    store, other = tmp_path / "digests.jsonl", tmp_path / "other.txt"
    other.write_text("two")
    known = FileDigests(store)
    known.digest(file), known.digest(other)
    with known.linking([file, other, tmp_path / "missing"]):
        os.link(file, tmp_path / "link.txt")
        os.link(other, tmp_path / "other-link.txt")
        assert known.known(file) == sha("one")
        other.write_text("six")
    assert (FileDigests(store).known(file), FileDigests(store).known(other)) == (sha("one"), None)
    assert (known.known(file), known.known(other)) == (sha("one"), None)
    os.link(file, tmp_path / "by someone else.txt")
    assert known.known(file) is None
    assert known.digest(file) == sha("one")
    assert hashed == ["calib.txt", "other.txt", "calib.txt"]


def test_what_another_process_has_hashed_is_not_hashed_again(tmp_path, file, hashed):
    one, two = (FileDigests(tmp_path / "digests.jsonl") for _ in range(2))
    assert one.known(file) is None
    two.digest(file)
    assert one.digest(file) == sha("one")
    assert len(hashed) == 1


def test_lines_that_no_longer_count_are_dropped(tmp_path, file, monkeypatch):
    monkeypatch.setattr(digests, "_FEW", 10)
    store, links = tmp_path / "digests.jsonl", tmp_path / "links"
    links.mkdir()
    known = FileDigests(store)
    for number in range(20):
        known.digest(file)
        os.link(file, links / str(number))
    assert len(store.read_text().splitlines()) == 20
    assert FileDigests(store).known(file) is None
    assert len(store.read_text().splitlines()) == 1


def test_links_and_relative_paths_are_the_file_they_lead_to(tmp_path, file, hashed, monkeypatch):
    monkeypatch.chdir(tmp_path)
    link = tmp_path / "link.txt"
    link.symlink_to(file)
    known = FileDigests(tmp_path / "digests.jsonl")
    relative = file.relative_to(tmp_path)
    assert {known.digest(file), known.digest(link), known.digest(relative)} == {sha("one")}
    assert len(hashed) == 1


@pytest.mark.parametrize("gone", ["missing", "folder"])
def test_what_cannot_be_read_is_an_os_error(tmp_path, gone):
    (tmp_path / "folder").mkdir()
    with pytest.raises(OSError, match=gone):
        FileDigests().digest(tmp_path / gone)


def test_changed_since_seen(tmp_path, file, hashed):
    known = FileDigests()
    assert known.changed_since_seen(file)  # never seen
    known.see(file)
    assert not known.changed_since_seen(file)
    os.link(file, tmp_path / "link.txt")
    assert not known.changed_since_seen(file)  # the same content
    file.write_text("two")
    assert known.changed_since_seen(file)
    known.see(file)
    assert not known.changed_since_seen(file)
    file.unlink()
    assert known.changed_since_seen(file)


def test_seen_is_of_this_run_only(tmp_path, file):
    FileDigests(tmp_path / "digests.jsonl").see(file)
    assert FileDigests(tmp_path / "digests.jsonl").changed_since_seen(file)


@pytest.mark.parametrize(
    "content",
    [b"", b"{", b"[]", b"3", b"\xff", b"[" * 100_000, b'{"of":3}']
    + [
        b'{"of":INODE,"stamp":STAMP,"sha256":%s}' % digest
        for digest in (b"7", b"null", b'"abc"', b'"%s"' % (b"A" * 64), b"[]")
    ]
    + [b'{"of":INODE,"stamp":%s,"sha256":"%s"}' % (stamp, b"a" * 64) for stamp in (b"3", b"[1,2]", b"[1e999,2,3]")],
)
def test_a_damaged_store_costs_time_only(tmp_path, file, hashed, content):
    store, status = tmp_path / "digests.jsonl", file.stat()
    inode = json.dumps([status.st_dev, status.st_ino, ""]).encode()
    stamp = json.dumps([status.st_size, status.st_mtime_ns, status.st_ctime_ns]).encode()
    store.write_bytes(content.replace(b"INODE", inode).replace(b"STAMP", stamp))
    assert FileDigests(store).digest(file) == sha("one")
    assert FileDigests(store).digest(file) == sha("one")
    assert hashed == ["calib.txt"]


@pytest.mark.parametrize("kind", ["folder", "fifo", "dangling link"])
def test_a_store_that_is_no_file_is_set_aside(tmp_path, file, hashed, kind):
    store = tmp_path / "digests.jsonl"
    {"folder": store.mkdir, "fifo": lambda: os.mkfifo(store), "dangling link": lambda: store.symlink_to("x/y")}[kind]()
    assert [FileDigests(store).digest(file) for _ in range(3)] == [sha("one")] * 3
    assert len(hashed) <= 3


def test_a_store_that_cannot_be_written_is_given_up(tmp_path, file, monkeypatch):
    def refuse(*_: object) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(digests, "append_lines", refuse)
    known = FileDigests(tmp_path / "digests.jsonl")
    assert known.digest(file) == sha("one")
    assert FileDigests(tmp_path / "no" / "folder" / "digests.jsonl").digest(file) == sha("one")
    assert not (tmp_path / "no").exists()


def test_some_content_is_remembered_and_compared_by_itself(tmp_path, file):
    parsed: list[str] = []

    def digest_of_text(path):
        parsed.append(path.name)
        return sha(path.read_text().strip())

    text = Content("text", digest_of_text)
    known = FileDigests(tmp_path / "digests.jsonl")
    assert [known.see(file, text), FileDigests(tmp_path / "digests.jsonl").digest(file, text)] == [sha("one")] * 2
    assert known.known(file) is None
    assert parsed == ["calib.txt"]
    file.write_text("one\n")
    assert not known.changed_since_seen(file)
    known.see(file)
    file.write_text("one\n\n")
    assert known.changed_since_seen(file)


def test_a_store_that_is_too_large_is_begun_anew(tmp_path, file, hashed, monkeypatch):
    monkeypatch.setattr(digests, "_MOST", 1000)
    store = tmp_path / "digests.jsonl"
    store.write_bytes(b"[" * 2000)
    assert [FileDigests(store).digest(file) for _ in range(2)] == [sha("one")] * 2
    assert len(hashed) == 1
    assert len(store.read_text().splitlines()) == 1
