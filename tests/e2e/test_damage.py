"""Damage between two stages does not reach the bundle, and the next run heals it."""

from __future__ import annotations

import os
from pathlib import Path

import onnx
import pytest
from tiny_recipe import write_recipe

from qairt.bundle.checksums import read_checksums
from qairt.engine.record import events as ev
from qairt.engine.run.options import RunOptions
from qairt.errors import CacheError
from qairt.files import sha256_of
from qairt.llm import LLMPipeline


@pytest.fixture(scope="module")
def recipe(tmp_path_factory) -> Path:
    return write_recipe(tmp_path_factory.mktemp("damage"), backend="CPU")


def flip_quietly(path: Path) -> None:
    """Change one bit by an ordinary write, and restore the time."""
    times = (path.stat().st_atime_ns, path.stat().st_mtime_ns)
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    os.chmod(path, 0o644)
    path.write_bytes(data)
    os.utime(path, ns=times)


def file_of(made: LLMPipeline, stage: str, name: str) -> Path:
    return next(entry.directory / name for entry in made.cache.entries(stage) if name in entry.files)


def assert_whole(made: LLMPipeline) -> None:
    (entry,) = made.cache.entries("export_bundle")
    folder = entry.directory / "bundle"
    for name, digest in read_checksums(folder).items():
        assert sha256_of(folder / name) == digest
    assert all(entry.altered() is None for entry in made.cache.entries())


@pytest.mark.parametrize(
    ("stage", "name"),
    [("quantize", "quantized_weights.bin"), ("quantize", "signature.json"), ("model_loading", "model.json")],
)
def test_damage_during_a_run_is_not_put_into_the_bundle(recipe, tmp_path, stage, name):
    made = LLMPipeline.from_recipe(recipe, cache_dir=tmp_path)
    damaged: list[str] = []

    def damage(event: ev.Event) -> None:
        if isinstance(event, ev.ItemStarted) and event.stage == "export_bundle":
            path = file_of(made, stage, name)
            flip_quietly(path)
            damaged.extend(str(other) for other in tmp_path.rglob(name) if other.samefile(path))

    made.add_listener(damage)
    (failure,) = made.construct(RunOptions(executor="inline")).failed
    assert (failure.what, failure.remedy) == (
        "its content is not what was stored, so no bundle was made from it",
        "run again: it is set aside and rebuilt",
    )
    assert failure.where in damaged, "one file may have several names"
    again = LLMPipeline.from_recipe(recipe, cache_dir=tmp_path)
    result = again.construct(RunOptions(executor="inline"))
    assert result.status == "done", result.failed
    assert_whole(again)


def test_damage_is_not_exported_in_either_format(recipe, tmp_path):
    made = LLMPipeline.from_recipe(recipe, cache_dir=tmp_path / "cache")
    made.construct(RunOptions(executor="inline"))
    files = made.export(tmp_path / "whole")
    assert {path.name for path in files} >= {"SHA256SUMS", "metadata.yaml", "tokenizer.json"}
    for path in files:
        if path.suffix == ".onnx":
            onnx.load(path)  # which refuses weights with several names, as they have in the cache
    flip_quietly(file_of(made, "quantize", "quantized_weights.bin"))
    with pytest.raises(CacheError):
        made.export(tmp_path / "damaged")
    assert not (tmp_path / "damaged").exists()
    made.construct(RunOptions(executor="inline"))
    assert_whole(made)
    assert {path.name: sha256_of(path) for path in made.export(tmp_path / "healed")} == {
        path.name: sha256_of(path) for path in files
    }
