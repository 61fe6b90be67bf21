"""A stage's result under its plain name is whole, repaired, and costs no file of the user."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import toy_stages as toy

from qairt.engine.pipeline import Pipeline
from qairt.engine.record import events as ev
from qairt.engine.run.options import RunOptions

INLINE = RunOptions(jobs=1, memory=10**9, executor="inline")
PLACE = "nested/of_0/joined.txt"


def run(cache: Path, text: str = "hello") -> list[str]:
    """Run all; returns the warnings."""
    stages = [toy.Source(toy.SourceConfig(text=text)), toy.Fan(), toy.PublishedJoin()]
    made, said = Pipeline(stages, cache), []
    made.add_listener(
        lambda event: said.append(event.message) if isinstance(event, ev.LogLine) and event.level == "warning" else None
    )
    assert made.construct(INLINE).status == "done"
    return said


def published(cache: Path) -> dict[str, str]:
    folder = cache / "published_join"
    return {path.relative_to(folder).as_posix(): path.read_text() for path in folder.rglob("*") if path.is_file()}


def append(file: Path) -> None:
    with file.open("a") as writing:
        writing.write(" and more")


def alter(file: Path) -> None:
    file.write_text(file.read_text().replace("hello", "jello"))


def remove_folder(file: Path) -> None:
    file.unlink()
    file.parent.rmdir()


@pytest.mark.parametrize("damage", [append, alter, Path.unlink, remove_folder, lambda file: file.write_text("")])
def test_a_damaged_folder_is_repaired_by_the_next_run(tmp_path: Path, damage: Callable[[Path], object]):
    run(tmp_path)
    whole = published(tmp_path)
    assert list(whole) == [PLACE]
    damage(tmp_path / "published_join" / PLACE)
    assert published(tmp_path) != whole
    run(tmp_path)
    assert published(tmp_path) == whole


def test_nothing_is_written_where_all_is_in_place(tmp_path: Path):
    run(tmp_path)
    file = tmp_path / "published_join" / PLACE
    before = file.stat()
    assert run(tmp_path) == []
    assert (file.stat().st_ino, file.stat().st_mtime_ns) == (before.st_ino, before.st_mtime_ns)


def test_another_result_takes_the_place_and_what_the_user_changed_is_kept(tmp_path: Path):
    run(tmp_path)
    assert run(tmp_path, "bye") == []
    assert published(tmp_path) == {PLACE: "bye 1|bye 2"}
    folder = tmp_path / "published_join"
    (folder / PLACE).write_text("edited")
    (folder / "notes.txt").write_text("mine")
    changed = f"published_join in {tmp_path} was changed since it was written: what differed is in "
    assert run(tmp_path) == [f"{changed}published_join.kept1"]
    assert published(tmp_path) == {PLACE: "hello 1|hello 2"}
    kept = tmp_path / "published_join.kept1"
    assert (kept / PLACE).read_text() == "edited"
    assert (kept / "notes.txt").read_text() == "mine"
    (tmp_path / "elsewhere").mkdir()
    for path in (folder / PLACE, *reversed([path for path in folder.rglob("*") if path.is_dir()])):
        path.unlink() if path.is_file() else path.rmdir()
    folder.rmdir()
    folder.symlink_to(tmp_path / "elsewhere")
    assert run(tmp_path) == [f"{changed}published_join.kept2"]
    assert (tmp_path / "published_join.kept2").is_symlink()
    assert published(tmp_path) == {PLACE: "hello 1|hello 2"}
    assert not list(tmp_path.rglob(".making-*"))
