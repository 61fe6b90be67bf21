"""What is reused has the content that was stored, and what has not changed is not read again."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from pathlib import Path
from typing import Annotated

import pytest
import toy_stages as toy
from pydantic import ValidationError

from qairt.engine.cache.cache import DIGESTS, StageCache
from qairt.engine.cache.store import Store
from qairt.engine.digests import shared_digests
from qairt.engine.pipeline import Pipeline
from qairt.engine.record import events as ev
from qairt.engine.run.options import RunOptions
from qairt.engine.stage import Artifact, Expansion, Stage, StageOutput, Task, read_output
from qairt.errors import CacheError
from qairt.files import copy_small_link_large, link_or_copy

INLINE = RunOptions(jobs=2, executor="inline")


class Linked(StageOutput):
    linked: Annotated[Path, Artifact("link")]


class Link(Stage[toy.LaterConfig, toy.TextInput, Linked]):
    """Has its input's file as its own, as the stages have whose graphs share the weights."""

    name = "link"

    def expand(self, batch, env):
        return Expansion([Task(coord=coord, sources=(coord,)) for coord in batch])

    def run(self, task, context):
        link_or_copy(context.input.text, context.directory / "linked.txt")
        shutil.copyfile(context.input.text, context.directory / "copy.txt")
        link_or_copy(context.input.text, context.directory.parent / f".making-scratch{task.coord}")
        (context.directory.parent / f".making-scratch{task.coord}").unlink()
        return Linked(linked=context.directory / "linked.txt")

    def publish(self, items, directory):
        source = items[()].directory
        copy_small_link_large(source, [source / "linked.txt"], directory)


def pipeline(cache: Path, *, text: str = "x" * 2_000_000) -> Pipeline:
    return Pipeline([toy.Source(toy.SourceConfig(text=text)), Link()], cache)


def run(made: Pipeline, options: RunOptions = INLINE) -> list[str]:
    result = made.construct(options)
    assert result.status == "done", result.failed
    return sorted(result.executed)


@pytest.fixture
def hashed(monkeypatch) -> list[str]:
    """The names of the files that were read to hash them."""
    names: list[str] = []
    real = hashlib.file_digest

    def count(file, digest):
        names.append(Path(os.readlink(f"/proc/self/fd/{file.fileno()}")).name)
        return real(file, digest)

    monkeypatch.setattr(hashlib, "file_digest", count)
    return names


@pytest.mark.parametrize("options", [INLINE, RunOptions(jobs=2)], ids=["inline", "process"])
def test_a_warm_run_hashes_nothing(tmp_path, hashed, options):
    assert run(pipeline(tmp_path), options) == ["link all", "source all"]
    files = {name: path.stat().st_ino for path in tmp_path.rglob("*.txt") if (name := path.parent.name + path.name)}
    assert len(set(files.values())) == 1, "the text is one file, and linked while and after the items ran"
    hashed.clear()
    assert run(pipeline(tmp_path)) == []
    assert Pipeline.plan(pipeline(tmp_path)).items
    assert hashed == []


def test_a_plan_beside_a_running_item_hashes_nothing(tmp_path, hashed):
    """The item has linked its source, whose ctime has changed; a screen plans again meanwhile."""
    run(pipeline(tmp_path))
    made = pipeline(tmp_path)
    source, link = made.plan().items
    with made.cache.linking([source.entry]):
        os.link(source.entry.directory / "text.txt", tmp_path / "scratch")
        hashed.clear()
        assert all(item.cached for item in pipeline(tmp_path).plan().items)
        assert pipeline(tmp_path).cache.present(link.key) is not None
        assert hashed == []


def test_after_clear_and_prune_what_is_left_is_not_hashed_again(tmp_path, hashed):
    """Its files have lost links, which changes their ctime."""
    run(pipeline(tmp_path))
    store = Store(tmp_path)
    store.clear(store.entries("link"))
    store.prune()
    hashed.clear()
    assert [item.name for item in pipeline(tmp_path).plan().items if item.cached] == ["source all"]
    StageCache(tmp_path).clear("link")
    assert [item.name for item in pipeline(tmp_path).plan().items if item.cached] == ["source all"]
    assert hashed == []


def test_a_cache_without_digests_is_hashed_once_and_stays_a_hit(tmp_path, hashed):
    run(pipeline(tmp_path))
    (tmp_path / "pipeline_state" / DIGESTS).unlink()
    shared_digests.cache_clear()  # as in another process
    hashed.clear()
    assert run(pipeline(tmp_path)) == []
    assert sorted(hashed) == ["output.json", "output.json", "text.txt"], "what is one file is read once"
    hashed.clear()
    assert run(pipeline(tmp_path)) == []
    assert hashed == []


def flip(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    os.chmod(path, 0o644)
    path.write_bytes(data)


def swap(path: Path) -> None:
    other = path.with_name("other")
    shutil.copy(path, other)
    flip(other)
    other.replace(path)


@pytest.mark.parametrize("damage", [flip, swap])
@pytest.mark.parametrize("name", ["text.txt", "output.json"])
@pytest.mark.parametrize("keeps_time", [True, False], ids=["mtime kept", "mtime new"])
def test_damage_of_the_same_size_is_seen_by_the_next_run(tmp_path, damage, name, keeps_time):
    run(pipeline(tmp_path))
    (entry,) = pipeline(tmp_path).cache.entries("source")
    path = entry.directory / name
    times = (path.stat().st_atime_ns, path.stat().st_mtime_ns)
    damage(path)
    if keeps_time:
        os.utime(path, ns=times)
    again = pipeline(tmp_path)
    assert "source all" in run(again)
    assert any(f"{name} has different content; it was set aside" in text for text in again.warnings)
    assert all(entry.altered() is None for entry in Store(tmp_path).entries())
    assert pipeline(tmp_path).cache.get(entry.key, toy.Source).text.read_text() == "x" * 2_000_000


def test_an_entry_names_only_files_below_it(tmp_path):
    run(pipeline(tmp_path))
    (entry,) = pipeline(tmp_path).cache.entries("source")
    record = entry.directory / "cache_entry.json"
    content = json.loads(record.read_text())
    content["files"]["../../../../../etc/passwd"] = {"size": 1, "sha256": "0" * 64}
    record.write_text(json.dumps(content))
    again = pipeline(tmp_path)
    assert "source all" in run(again)
    assert "cache_entry.json cannot be read (ValueError)" in again.warnings[0]


# Files outside the cache


class Late(toy.Upper):
    """Reads the recipe's file again, which only `source` has digested."""

    name = "late"

    def __init__(self, file: Path) -> None:
        super().__init__()
        self.file = file

    def expand(self, batch, env):
        return Expansion([Task(coord=(), sources=((),), paths={"model": self.file.parent})])

    def run(self, task, context):
        path = context.directory / "text.txt"
        path.write_text((task.paths["model"] / "weights.txt").read_text())
        return toy.Text(text=path)


def late(tmp_path: Path) -> tuple[Pipeline, Path]:
    file = tmp_path / "model" / "weights.txt"
    file.parent.mkdir(exist_ok=True)
    file.write_text("the weights")
    return Pipeline([toy.Source(toy.SourceConfig(file=file)), Late(file)], tmp_path / "cache"), file


@pytest.mark.parametrize("stage", ["source", "late"])
@pytest.mark.parametrize("keeps_time", [True, False])
@pytest.mark.parametrize("when", [ev.ItemStarted, ev.ItemFinished], ids=["while it runs", "before it starts"])
def test_a_file_that_is_swapped_during_a_run_makes_nothing(tmp_path, stage, keeps_time, when):
    made, file = late(tmp_path)

    def replace(event: ev.Event) -> None:
        if isinstance(event, when) and event.stage == (stage if when is ev.ItemStarted else "source"):
            times = (file.stat().st_atime_ns, file.stat().st_mtime_ns)
            other = file.with_name("other")
            other.write_text("OTHER BYTES")
            if keeps_time:
                os.utime(other, ns=times)
            other.replace(file)

    made.add_listener(replace)
    result = made.construct(INLINE)
    (failure,) = result.failed
    assert failure.what == f"{file} changed after this run began"
    assert failure.remedy == "nothing was made from it that is kept: run again"
    kept = {"source": "the weights"} if failure.stage == "late" else {}
    assert {e.stage: (e.directory / "text.txt").read_text() for e in made.cache.entries()} == kept


def test_a_file_that_was_only_touched_or_linked_during_a_run_is_the_same(tmp_path):
    made, file = late(tmp_path)

    def touch(event: ev.Event) -> None:
        if isinstance(event, ev.ItemStarted):
            os.utime(file)
            os.link(file, file.with_name(event.stage))

    made.add_listener(touch)
    assert run(made) == ["late all", "source all"]


# Outputs


def test_put_does_not_share_the_callers_file(tmp_path):
    text = tmp_path / "made" / "text.txt"
    text.parent.mkdir()
    text.write_text("content" * 1000)
    cache = StageCache(tmp_path / "cache")
    cache.put("a" * 64, toy.Text(text=text), toy.Source(), cache.cache_dir / "source" / "source_aaaaaaaa")
    assert text.stat().st_nlink == 1
    assert os.access(text, os.W_OK)
    text.write_text("edited!" * 1000)
    assert cache.get("a" * 64, toy.Source).text.read_text() == "content" * 1000


def outside(folder: Path) -> Path:
    secret = folder.parent / "secret.txt"
    secret.write_text("secret")
    return secret


@pytest.mark.parametrize(
    ("named", "prepare"),
    [
        ("/etc/passwd", lambda folder: None),
        ("../secret.txt", outside),
        ("x/../../secret.txt", outside),
        ("link.txt", lambda folder: (folder / "link.txt").symlink_to(outside(folder))),
        ("inner/secret.txt", lambda folder: (folder / "inner").symlink_to(outside(folder).parent)),
        ("pipe", lambda folder: os.mkfifo(folder / "pipe")),
        ("missing.txt", lambda folder: None),
    ],
)
def test_an_output_names_only_its_own_files(tmp_path, named, prepare):
    folder = tmp_path / "entry"
    folder.mkdir()
    prepare(folder)
    (folder / "output.json").write_text(json.dumps({"text": named}))
    with pytest.raises(CacheError) as raised:
        read_output(toy.Text, folder)
    assert str(raised.value) == (
        f"{folder}: its output names {named}, which is no file of its own\n"
        "  a stage writes all its files into `context.directory`"
    )


def test_an_output_of_another_shape(tmp_path):
    (tmp_path / "output.json").write_text("{}")
    with pytest.raises(ValidationError):
        read_output(toy.Text, tmp_path)


class Elsewhere(toy.Source):
    name = "elsewhere"

    def run(self, task, context):
        return toy.Text(text=Path("/etc/passwd"))


def test_a_stage_that_names_a_file_elsewhere_fails(tmp_path):
    made = Pipeline([Elsewhere()], tmp_path)
    (failure,) = made.construct(INLINE).failed
    assert failure.what == "its output names /etc/passwd, which is no file of its own"
    assert not list(made.cache.entries())
