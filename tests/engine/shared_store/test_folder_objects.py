"""Objects in a folder: whole or absent, whatever ends in the middle."""

from __future__ import annotations

import io
import os
from pathlib import Path

import pytest

from qairt.engine.shared_store.folder_objects import FolderObjects
from qairt.engine.shared_store.objects import Missing, Unavailable
from qairt.machine import this_host


@pytest.fixture
def objects(tmp_path: Path) -> FolderObjects:
    return FolderObjects(tmp_path)


def test_there_and_back(objects):
    content = os.urandom(3 << 20)
    objects.put("cas/ab/abc", io.BytesIO(content))
    assert b"".join(objects.stream("cas/ab/abc")) == content
    assert objects.size("cas/ab/abc") == len(content)
    assert objects.size("cas/ab/abd") is None
    with pytest.raises(Missing):
        objects.read("ac/x")


def test_an_object_is_created_once_and_replaced_on_purpose(objects):
    assert objects.create("ac/x", b"first")
    assert not objects.create("ac/x", b"second")
    assert objects.read("ac/x") == b"first"
    objects.replace("ac/x", b"third")
    assert objects.read("ac/x") == b"third"


def test_what_a_killed_writer_left_is_not_seen_and_goes(objects, tmp_path):
    objects.create("rivals/a/b", b"1")
    left = tmp_path / "rivals" / "a" / f".writing-{this_host()}-killed"
    left.write_bytes(b"half")
    of_another = tmp_path / "rivals" / "a" / ".writing-box9-alive"
    of_another.write_bytes(b"half")
    assert list(objects.names("rivals")) == ["rivals/a/b"]
    objects.create("rivals/a/c", b"2")
    assert not left.exists()
    assert of_another.exists(), "whether its writer lives is not known here"
    assert list(objects.names("rivals")) == ["rivals/a/b", "rivals/a/c"]


def test_a_writer_that_fails_leaves_nothing(objects, tmp_path):
    class Broken(io.RawIOBase):
        def read(self, size=-1):
            raise OSError(28, "No space left on device")

    with pytest.raises(Unavailable, match="^it is full$"):
        objects.put("cas/aa/x", Broken())
    assert [path for path in tmp_path.rglob("*") if path.is_file()] == []


def test_a_folder_that_is_not_mounted(tmp_path):
    with pytest.raises(Unavailable, match=r"^there is no folder .*/away: mount it, or create it$"):
        FolderObjects(tmp_path / "away")
    (tmp_path / "away").mkdir()
    objects = FolderObjects(tmp_path / "away")
    (tmp_path / "away").rmdir()
    for ask in (lambda: objects.read("ac/x"), lambda: objects.size("ac/x")):
        with pytest.raises(Unavailable, match=r"^the folder .*/away is gone$"):
            ask()


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_a_folder_that_may_not_be_written(objects, tmp_path):
    tmp_path.chmod(0o555)
    with pytest.raises(Unavailable, match="^access denied$"):
        objects.create("ac/x", b"1")
