from __future__ import annotations

import resource
from pathlib import Path

import pytest

from qairt.bundle.checksums import write_checksums
from qairt.errors import QairtError
from qairt.results.bundle import copy_bundle


@pytest.fixture
def bundle(tmp_path: Path) -> Path:
    folder = tmp_path / "bundle"
    (folder / "part_1_of_2").mkdir(parents=True)
    (folder / "part_1_of_2" / "weights.bin").write_bytes(bytes(100_000))
    (folder / "metadata.yaml").write_text("backend: CPU\n")
    write_checksums(folder)
    return folder


def test_a_copy_is_complete(bundle: Path, tmp_path: Path):
    files = copy_bundle(bundle, tmp_path / "out")
    assert [path.relative_to(tmp_path / "out").as_posix() for path in files] == [
        "SHA256SUMS",
        "metadata.yaml",
        "part_1_of_2/weights.bin",
    ]


def test_a_full_disk_leaves_nothing(bundle: Path, tmp_path: Path):
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (50_000, limits[1]))
    try:
        with pytest.raises(QairtError, match="out: it cannot be written: File too large"):
            copy_bundle(bundle, tmp_path / "out")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert [path.name for path in tmp_path.iterdir()] == ["bundle"]


def test_an_impossible_destination(bundle: Path):
    with pytest.raises(QairtError, match="it cannot be written: "):
        copy_bundle(bundle, bundle / "metadata.yaml" / "out")
    (bundle.parent / "full").mkdir()
    (bundle.parent / "full" / "file").touch()
    with pytest.raises(QairtError, match="it exists and is not empty"):
        copy_bundle(bundle, bundle.parent / "full")
