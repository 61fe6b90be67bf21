"""A place that is read-only or full is one message with one remedy, whatever the command."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from each_command import said_by
from tiny_recipe import write_model
from toy_project import write_toy_recipe

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="capabilities and small disks are Linux's")

RUN = ("run", "toy.yaml", "--executor", "inline", "--no-tui")
SWEEP = ("sweep", "toy.yaml", "stages.source.text=a,b")
REPORT, INIT = ("report", "toy.yaml"), ("init", "model", "-o", "new.yaml")
CLEAR = ("cache", "clear", "toy.yaml", "--yes")


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a finished run of the toy recipe, and a model."""
    folder = tmp_path_factory.mktemp("places")
    recipe = write_toy_recipe(folder)
    recipe.write_text(recipe.read_text().replace(str(folder / "cache"), "cache"))
    write_model(folder / "model")
    (said,) = said_by(folder, RUN)
    assert said.code == 0, said.err
    return folder


def errors(folder: Path, *commands: tuple[str, ...]) -> list[str]:
    """What each prints on standard error, without its own folder."""
    said = said_by(folder, *commands)
    assert [each.code for each in said] == [1] * len(commands), said
    return [each.err.replace(str(folder), "HERE") for each in said]


def test_a_read_only_folder(finished: Path):
    folders = [finished, *(path for path in finished.rglob("*") if path.is_dir() and not path.is_symlink())]
    for path in folders:
        path.chmod(0o555)
    try:
        run, sweep, report, init, clear = errors(finished, RUN, SWEEP, REPORT, INIT, CLEAR)
    finally:
        for path in folders:
            path.chmod(0o755)
    unwritable = (
        "Error: HERE/cache/pipeline_state: the cache directory cannot be written: it is read-only for this user\n"
        "  make it writable, or choose another one with --cache-dir or `cache_dir:` in the recipe\n"
    )
    assert run == unwritable
    assert sweep == f"\n[1 of 2] stages.source.text=a\n{unwritable}"
    assert report == (
        "Error: HERE/cache/report.html: the report cannot be written: permission denied\n"
        "  make it writable, or give another path with --html or --md\n"
    )
    assert init == (
        "Error: new.yaml: the recipe cannot be written: permission denied\n"
        "  make it writable, or give another path with -o\n"
    )
    assert clear == (
        "Error: HERE/cache/pipeline_state/trash: nothing was cleared: Permission denied\n"
        "  this needs write access to the cache directory\n"
    )


@pytest.fixture
def full_disk(finished: Path, tmp_path: Path) -> Iterator[Path]:
    """The same folder on a disk without a free byte."""
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=2m", "tmpfs", str(tmp_path)], capture_output=True)
    if mounted.returncode:
        pytest.skip("a small disk cannot be mounted here")
    subprocess.run(["cp", "-a", f"{finished}/.", str(tmp_path)], check=True)
    with open(tmp_path / "filler", "wb", buffering=0) as filler:
        try:
            while filler.write(b"0" * 512):
                pass
        except OSError:
            pass
    yield tmp_path
    subprocess.run(["umount", "--lazy", str(tmp_path)], check=True)


def test_a_full_disk(full_disk: Path):
    run, sweep, report, init, clear = errors(full_disk, RUN, SWEEP, REPORT, INIT, CLEAR)
    free = "free space on that disk (`qairt cache prune` removes what no run needs), or "
    assert run == (
        "Error: HERE/cache/pipeline_state/recipe.yaml: no space left on device\n"
        f"  {free}choose another cache directory with --cache-dir; then run again: finished items are kept\n"
    )
    assert sweep == f"\n[1 of 2] stages.source.text=a\n{run}"
    assert report == (
        f"Error: HERE/cache/report.html: no space left on device\n  {free}give another path with --html or --md\n"
    )
    assert init == f"Error: new.yaml: no space left on device\n  {free}give another path with -o\n"
    assert clear == (
        "Error: HERE/cache/pipeline_state/trash/1/manifest.json: nothing was cleared: No space left on device\n"
        "  free some disk space first; `qairt cache prune` may help\n"
    )
