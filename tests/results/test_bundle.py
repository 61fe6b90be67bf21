from __future__ import annotations

import resource
from pathlib import Path

import pytest
import yaml
from tiny_models import TINY
from tiny_recipe import write_recipe

from qairt.bundle.checksums import write_checksums
from qairt.errors import CacheError, ModelError, QairtError
from qairt.files import files_below, sha256_of
from qairt.llm import LLMPipeline
from qairt.results.bundle import copy_bundle


@pytest.fixture
def bundle(tmp_path: Path) -> Path:
    folder = tmp_path / "bundle"
    (folder / "part_1_of_2").mkdir(parents=True)
    (folder / "part_1_of_2" / "weights.bin").write_bytes(bytes(100_000))
    (folder / "metadata.yaml").write_text("backend: CPU\n")
    write_checksums(folder)
    return folder


def recorded(bundle: Path) -> dict[Path, str]:
    return {path: sha256_of(path) for path in files_below(bundle)}


def test_a_copy_is_complete_and_holds_nothing_else(bundle: Path, tmp_path: Path):
    digests = recorded(bundle)
    (bundle / ".DS_Store").write_text("left by a file browser")
    files = copy_bundle(bundle, tmp_path / "out", digests)
    assert [path.relative_to(tmp_path / "out").as_posix() for path in files] == [
        "SHA256SUMS",
        "metadata.yaml",
        "part_1_of_2/weights.bin",
    ]


@pytest.mark.parametrize("name", ["SHA256SUMS", "metadata.yaml", "part_1_of_2/weights.bin"])
def test_damage_is_not_exported(bundle: Path, tmp_path: Path, name: str):
    digests = recorded(bundle)
    (bundle / name).write_bytes((bundle / name).read_bytes()[:-1] + b"x")
    write_checksums(bundle) if name != "SHA256SUMS" else None  # checksums that match the damage
    with pytest.raises(CacheError) as raised:
        copy_bundle(bundle, tmp_path / "out", digests)
    assert str(raised.value) in [
        f"{bundle / each}: its content is not what was stored, so nothing was exported\n"
        "  `qairt run` sets it aside and rebuilds it"
        for each in {name, "SHA256SUMS"}
    ]
    assert [path.name for path in tmp_path.iterdir()] == ["bundle"]


def test_a_full_disk_leaves_nothing(bundle: Path, tmp_path: Path):
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (50_000, limits[1]))
    try:
        with pytest.raises(QairtError, match="out: the folder cannot be written: file too large\n  give another one"):
            copy_bundle(bundle, tmp_path / "out", recorded(bundle))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert [path.name for path in tmp_path.iterdir()] == ["bundle"]


def test_an_impossible_destination(bundle: Path):
    with pytest.raises(QairtError, match="out: the folder cannot be written: file exists\n  give another one"):
        copy_bundle(bundle, bundle / "metadata.yaml" / "out", recorded(bundle))
    (bundle.parent / "full").mkdir()
    (bundle.parent / "full" / "file").touch()
    with pytest.raises(QairtError, match="it exists and is not empty"):
        copy_bundle(bundle, bundle.parent / "full", recorded(bundle))


def test_without_the_stage_the_model_says_why_there_is_no_bundle(tmp_path: Path):
    recipe = write_recipe(tmp_path, family="lfm2", backend="CPU", **TINY["lfm2"][1])
    content = yaml.safe_load(recipe.read_text())
    del content["stages"]["export_bundle"]
    recipe.write_text(yaml.safe_dump(content, sort_keys=False))
    with pytest.raises(ModelError, match=r"leave export_bundle out of the recipe: run the graphs by `qairt generate`"):
        LLMPipeline.from_recipe(recipe).export(tmp_path / "out")
    assert not (tmp_path / "out").exists()
