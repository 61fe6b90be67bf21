"""Temporary folders are held by their makers and put in place in one step."""

from __future__ import annotations

import errno
import os
import subprocess
import sys
from pathlib import Path

import pytest

from qairt import folders
from qairt.files import WRITING
from qairt.folders import MAKING, exchange, put_in_place, remove_dead, remove_left, same_content, temporary_folder

HOLD = """
import sys
from pathlib import Path
from qairt.folders import temporary_folder
with temporary_folder(Path(sys.argv[1]), "x") as folder:
    print(folder, flush=True)
    sys.stdin.read()
"""


def test_what_a_living_process_holds_stays_and_what_a_killed_one_held_goes(tmp_path: Path):
    child = subprocess.Popen(
        [sys.executable, "-c", HOLD, str(tmp_path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert child.stdout is not None
    folder = Path(child.stdout.readline().strip())
    assert folder.is_dir()
    assert not remove_dead(folder.parent)
    remove_left(tmp_path, "x")
    assert folder.is_dir()
    child.kill()
    child.wait()
    assert folder.is_dir()
    remove_left(tmp_path, "y")
    assert folder.is_dir()
    remove_left(tmp_path, "x")
    assert list(tmp_path.iterdir()) == []


def test_a_link_in_the_place_of_a_temporary_folder_is_not_followed(tmp_path: Path):
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine/file").touch()
    for name in (f"{MAKING}x", f"{WRITING}x"):
        (tmp_path / name).symlink_to(tmp_path / "mine")
        assert remove_dead(tmp_path / name)
    assert [path.name for path in tmp_path.rglob("*")] == ["mine", "file"]


@pytest.mark.parametrize("can_exchange", [True, False])
def test_a_folder_is_put_in_the_place_of_another(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, can_exchange: bool):
    if can_exchange:
        (tmp_path / "a").mkdir()
        (tmp_path / "b").touch()
        assert exchange(tmp_path / "a", tmp_path / "b")
        assert (tmp_path / "b").is_dir()
    else:  # as on a file system without it
        monkeypatch.setattr(folders, "exchange", lambda one, other: False)
    place = tmp_path / "place"
    for text in ("first", "second"):
        with temporary_folder(tmp_path, "place") as folder:
            (folder / "text.txt").write_text(text)
            put_in_place(folder, place)
        assert (place / "text.txt").read_text() == text
    assert [path.name for path in tmp_path.iterdir() if path.name.startswith(".")] == []


def test_same_content(tmp_path: Path):
    one, other = tmp_path / "one", tmp_path / "other"
    for folder in (one, other):
        (folder / "nested").mkdir(parents=True)
        (folder / "nested/file").write_text("content")
    assert same_content(one, other)
    (other / "nested/file").unlink()
    assert not same_content(one, other)
    os.link(one / "nested/file", other / "nested/file")
    assert same_content(one, other)
    (other / "more").touch()
    assert not same_content(one, other)
    (one / "more").symlink_to("nested/file")
    assert not same_content(one, other)


def test_a_temporary_folder_goes_away_although_something_writes_into_it_for_a_moment(tmp_path, monkeypatch):
    """As a killed process does until the kernel has ended it."""
    delete, attempts = folders._delete, []

    def delete_while_another_writes(outer):
        attempts.append(outer)
        if len(attempts) < 3:
            raise OSError(errno.ENOTEMPTY, "Directory not empty", str(outer))
        delete(outer)

    monkeypatch.setattr(folders, "_delete", delete_while_another_writes)
    with folders.temporary_folder(tmp_path, "name") as content:
        (content / "file").touch()
    assert len(attempts) == 3
    assert list(tmp_path.iterdir()) == []
