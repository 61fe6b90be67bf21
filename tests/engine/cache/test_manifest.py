"""`manifest.json`: what it records, how it changes, and what happens to a damaged one."""

from __future__ import annotations

import json
import threading
from datetime import datetime
from pathlib import Path

import pytest
from pydantic import BaseModel, ConfigDict

from qairt import files
from qairt.engine.cache.manifest import PipelineManifest
from qairt.engine.stage import StageConfig
from qairt.errors import CacheError


class Search(BaseModel):
    model_config = ConfigDict(extra="forbid")

    block_size: int = 64
    candidates: int = 20


class Config(StageConfig):
    num_splits: int = 4
    arn: list[int] = [1, 128]
    text: Path | None = None
    search: Search = Search()


@pytest.fixture
def manifest(tmp_path) -> PipelineManifest:
    return PipelineManifest(tmp_path / "cache")


def test_the_path_is_absolute_and_nothing_is_made_yet(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert PipelineManifest("cache").path == tmp_path / "cache" / "pipeline_state" / "manifest.json"
    assert PipelineManifest("cache").read() == {"stages": {}}
    assert not PipelineManifest("cache").is_damaged()
    assert list(tmp_path.iterdir()) == []


def test_a_stage_in_full(manifest):
    manifest.update("split_model", Path("/a/b"), Config(num_splits=3), "0" * 64)
    assert list(manifest.read()) == ["stages"]
    entry = manifest.read()["stages"]["split_model"]
    assert list(entry) == ["artifact_path", "timestamp", "config", "cache_key"]
    assert entry["artifact_path"] == "/a/b"
    assert datetime.fromisoformat(entry["timestamp"]).tzinfo is not None
    assert entry["config"] == '{"num_splits":3}'
    assert entry["cache_key"] == "0" * 64
    assert json.loads(manifest.path.read_text()) == manifest.read()


def test_what_is_left_out_is_not_written(manifest):
    manifest.update("export", None)
    entry = manifest.read()["stages"]["export"]
    assert list(entry) == ["artifact_path", "timestamp"]
    assert entry["artifact_path"] is None


@pytest.mark.parametrize(
    ("values", "text"),
    [
        ({}, "{}"),
        ({"num_splits": 4}, '{"num_splits":4}'),  # set to its default is set
        ({"text": Path("calib.txt")}, '{"text":"calib.txt"}'),
        ({"search": {"candidates": 9}}, '{"search":{"candidates":9}}'),
        ({"overrides": [{"where": {"split": 5}, "set": {"num_splits": 1}}]}, None),
    ],
)
def test_only_settings_that_were_given_are_written(manifest, values, text):
    manifest.update("split_model", None, Config(**values))
    config = manifest.read()["stages"]["split_model"]["config"]
    assert config == (text if text is not None else json.dumps(values, separators=(",", ":")))
    assert Config.model_validate_json(config) == Config(**values)


def test_an_update_replaces_the_stage_and_keeps_its_items_and_the_others(manifest):
    manifest.update("export", Path("/x"), Config(num_splits=1), "a")
    manifest.update_item("split_model", "ar1 1_of_4", {"cache_key": "k", "seconds": 1.5})
    manifest.update("split_model", Path("/one"), Config(num_splits=2), "b")
    manifest.update("split_model", Path("/two"))
    stages = manifest.read()["stages"]
    assert list(stages) == ["export", "split_model"]
    assert stages["export"]["cache_key"] == "a"
    assert set(stages["split_model"]) == {"artifact_path", "timestamp", "items"}
    assert stages["split_model"]["artifact_path"] == "/two"
    item = stages["split_model"]["items"]["ar1 1_of_4"]
    assert item["cache_key"] == "k"
    assert item["seconds"] == 1.5
    assert datetime.fromisoformat(item["timestamp"]).tzinfo is not None


def test_items(manifest):
    for label in ("ar1", "ar128", "ar1"):
        manifest.update_item("prepare_exports", label, {"cache_key": label})
    assert list(manifest.read()["stages"]["prepare_exports"]["items"]) == ["ar1", "ar128"]
    assert manifest.item("prepare_exports", "ar1")["cache_key"] == "ar1"
    assert manifest.item("prepare_exports", "gone") == manifest.item("gone", "ar1") == {}


def test_removing(manifest):
    for name in "abc":
        manifest.update(name, None)
    manifest.remove("a", "gone", "c")
    assert list(manifest.read()["stages"]) == ["b"]
    manifest.remove()
    assert list(manifest.read()["stages"]) == ["b"]


def test_a_removal_that_changes_nothing_writes_nothing(manifest):
    manifest.update("a", None)
    before = manifest.path.stat()
    manifest.remove("gone")
    after = manifest.path.stat()
    assert (after.st_ino, after.st_mtime_ns) == (before.st_ino, before.st_mtime_ns)


def test_what_is_read_is_a_copy(manifest):
    manifest.update("a", None)
    manifest.read()["stages"].clear()
    assert list(manifest.read()["stages"]) == ["a"]


def test_keys_of_a_newer_version_stay(manifest):
    manifest.path.parent.mkdir(parents=True)
    manifest.path.write_text('{"version": 2, "stages": {"a": {"artifact_path": null, "more": [1]}}}')
    manifest.update("b", None)
    content = manifest.read()
    assert content["version"] == 2
    assert content["stages"]["a"] == {"artifact_path": None, "more": [1]}


DAMAGED = [
    b"",
    b'{"stages": {"a": {"artifact_pa',
    b"[]",
    b"null",
    b'{"stages": []}',
    b'{"stages": {"a": 3}}',
    b'{"stages": {"a": null}}',
    b'{"stages": {"a": {"items": null}}}',
    b'{"stages": {"a": {"items": [1]}}}',
    b"\xff\xfe\x00",
    b"[" * 100_000,
]


@pytest.mark.parametrize("content", DAMAGED, ids=range(len(DAMAGED)))
@pytest.mark.parametrize(
    ("change", "stages"),
    [
        (lambda manifest: manifest.update("a", None), ["a"]),
        (lambda manifest: manifest.update_item("a", "x", {}), ["a"]),
        (lambda manifest: manifest.remove("a"), []),
    ],
)
def test_a_damaged_file_reads_as_empty_and_is_written_anew(manifest, content, change, stages):
    manifest.path.parent.mkdir(parents=True)
    manifest.path.write_bytes(content)
    assert manifest.read() == {"stages": {}}
    assert manifest.is_damaged()
    change(manifest)
    assert not manifest.is_damaged()
    assert list(manifest.read()["stages"]) == stages


def test_a_folder_in_its_place_is_set_aside(manifest):
    (manifest.path / "inside").mkdir(parents=True)
    assert manifest.read() == {"stages": {}}
    assert manifest.is_damaged()
    manifest.update("a", None)
    assert list(manifest.read()["stages"]) == ["a"]
    (aside,) = manifest.path.parent.glob(".bad-manifest.json-*")
    assert (aside / "inside").is_dir()


def test_a_manifest_that_cannot_be_read_or_written_says_so(manifest):
    manifest.path.parent.parent.mkdir()
    manifest.path.parent.write_text("a file in place of the folder")
    assert manifest.read() == {"stages": {}}
    with pytest.raises(CacheError, match="the manifest cannot be written: File exists\n  allow reading"):
        manifest.update("a", None)


def test_a_change_is_whole_or_not_at_all(manifest, monkeypatch):
    manifest.update("a", None)
    before = manifest.path.read_bytes()

    def fail(*_: object) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patched:
        patched.setattr(files.os, "replace", fail)
        with pytest.raises(CacheError, match="the manifest cannot be written: No space left on device"):
            manifest.update("b", None)
    assert manifest.path.read_bytes() == before
    assert {path.name for path in manifest.path.parent.iterdir()} <= {"manifest.json", "manifest.lock"}
    manifest.update("b", None)  # the lock was let go
    assert list(manifest.read()["stages"]) == ["a", "b"]


def test_no_change_is_lost_between_threads_and_a_reader_never_sees_a_part(manifest):
    manifest.update("s", None)
    done = threading.Event()
    torn: list[str] = []

    def read() -> None:
        while not done.is_set():
            if manifest.is_damaged():
                torn.append("damaged")

    def write(writer: int) -> None:
        own = PipelineManifest(manifest.path.parents[1])
        for count in range(10):
            own.update_item("s", f"{writer}-{count}", {})
            own.update(f"stage {writer}", None, cache_key=str(count))

    reader = threading.Thread(target=read)
    writers = [threading.Thread(target=write, args=(number,)) for number in range(6)]
    for thread in (reader, *writers):
        thread.start()
    for thread in writers:
        thread.join(60)
    done.set()
    reader.join(60)
    assert torn == []
    stages = manifest.read()["stages"]
    assert set(stages["s"]["items"]) == {f"{writer}-{count}" for writer in range(6) for count in range(10)}
    assert [stages[f"stage {writer}"]["cache_key"] for writer in range(6)] == ["9"] * 6
