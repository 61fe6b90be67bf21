"""A disk that is full while a child writes is one error, whichever library was writing."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from full_disk_stages import Writes, WritesConfig

from qairt.engine.pipeline import Pipeline
from qairt.engine.run.options import RunOptions


@pytest.fixture(scope="module")
def small_disk(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    folder = tmp_path_factory.mktemp("disk")
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=3m", "tmpfs", str(folder)], capture_output=True)
    if mounted.returncode:
        pytest.skip("a small disk cannot be mounted here")
    yield folder
    subprocess.run(["umount", "--lazy", str(folder)], check=True)


@pytest.mark.parametrize("writer", ["python", "numpy", "torch", "safetensors", "onnx", "compiler"])
def test_no_space_left_says_where_and_what_frees_it(small_disk: Path, writer: str):
    pipeline = Pipeline([Writes(WritesConfig(writer=writer))], small_disk / writer)
    (failed,) = pipeline.construct(RunOptions()).result.failed
    assert (failed.what, failed.where) == ("no space left on device", str(pipeline.state_folder))
    assert failed.remedy == (
        "free space on that disk (`qairt cache prune` removes what no run needs), or use another one with --cache-dir; "
        "then run again: finished items are kept"
    )
