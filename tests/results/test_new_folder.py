"""A folder of results appears whole or not at all, also where an empty one is already there."""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path

import pytest

from qairt.errors import QairtError
from qairt.results.new_folder import new_folder


def fill(directory: Path) -> None:
    with new_folder(directory) as work:
        (work / "a.bin").write_text("a")
        (work / "inner").mkdir()
        (work / "inner" / "b.bin").write_text("b")


def content(directory: Path) -> dict[str, str]:
    return {str(path.relative_to(directory)): path.read_text() for path in directory.rglob("*") if path.is_file()}


WHOLE = {"a.bin": "a", "inner/b.bin": "b"}


def test_a_new_folder(tmp_path: Path) -> None:
    fill(tmp_path / "x" / "y")
    assert content(tmp_path) == {f"x/y/{name}": text for name, text in WHOLE.items()}


def test_the_working_directory_is_filled_and_stays_itself(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    before = tmp_path.stat().st_ino
    fill(Path("."))
    assert content(Path.cwd()) == WHOLE
    assert tmp_path.stat().st_ino == before


def test_a_link_to_an_empty_folder_stays_a_link(tmp_path: Path) -> None:
    (tmp_path / "real").mkdir()
    (tmp_path / "link").symlink_to("real")
    fill(tmp_path / "link")
    assert (tmp_path / "link").is_symlink()
    assert content(tmp_path / "real") == WHOLE


@pytest.mark.parametrize("there", ["nothing", "empty"])
def test_an_error_leaves_what_was_there(tmp_path: Path, there: str) -> None:
    directory = tmp_path / "out"
    if there == "empty":
        directory.mkdir()
    with suppress(ZeroDivisionError), new_folder(directory) as work:
        (work / "a.bin").write_text("a")
        raise ZeroDivisionError
    assert [path.name for path in tmp_path.rglob("*")] == (["out"] if there == "empty" else [])


def test_an_interrupted_move_is_taken_back(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    real = os.rename

    def rename(source: Path, target: Path) -> None:
        if Path(target).name == "inner":
            raise OSError(28, "No space left on device")
        real(source, target)

    monkeypatch.setattr(os, "rename", rename)
    with pytest.raises(QairtError, match="no space left on device"):
        fill(tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_what_a_killed_process_left_counts_as_empty(tmp_path: Path) -> None:
    directory = tmp_path / "out"
    left = directory / ".making-out-x"
    (left / "content").mkdir(parents=True)
    (left / "lock").touch()
    fill(directory)
    assert content(directory) == WHOLE
    assert not left.exists()


def test_what_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("mine")
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "mine").write_text("mine")
    (tmp_path / "nowhere").symlink_to("gone")
    for name, what in (("file", "is not a folder"), ("full", "is not empty"), ("nowhere", "is not a folder")):
        with pytest.raises(QairtError, match=f"it exists and {what}\n  give a new folder"):
            fill(tmp_path / name)
    assert content(tmp_path) == {"file": "mine", "full/mine": "mine"}
