"""kill -9 at random moments: the next run resumes, and the final bytes are the same."""

from __future__ import annotations

import json
import random
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path

import pytest
from tiny_recipe import write_recipe

from qairt.engine.run.options import RunOptions
from qairt.files import files_below, sha256_of
from qairt.llm import LLMPipeline
from qairt.toolchain.qnn.inspection import inspect

pytestmark = pytest.mark.compiler


def digests(cache: Path) -> dict[str, str]:
    folder = cache / "export_bundle"
    return {str(path.relative_to(folder)): sha256_of(path) for path in files_below(folder)}


def made(pipeline: LLMPipeline) -> dict[str, dict[str, str]]:
    """The digests of every item's files, up to those that the vendor's compiler reads."""
    return {
        f"{entry.stage} {entry.label}": {name: str(file["sha256"]) for name, file in entry.files.items()}
        for entry in pipeline.cache.entries()
        if entry.stage not in ("generate_context_binary", "export_bundle")
    }


@pytest.mark.parametrize("kills", [5, pytest.param(20, marks=pytest.mark.matrix)])
def test_a_run_killed_again_and_again_ends_with_the_same_bytes(tmp_path: Path, kills: int):
    recipe = write_recipe(tmp_path)  # items run in children, which cost seconds each: few parts, but every stage
    recipe.write_text(recipe.read_text().replace("num_splits: 3", "num_splits: 2"))
    undisturbed = LLMPipeline.from_recipe(recipe, cache_dir=tmp_path / "undisturbed")
    started = time.monotonic()
    assert undisturbed.construct(RunOptions(jobs=2)).status == "done"
    whole = time.monotonic() - started
    metrics = json.loads((undisturbed.state_folder / "metrics.json").read_text())
    assert metrics["generate_context_binary"]["peak_rss_mb"] > 50, "measured in the child"

    cache = tmp_path / "killed"
    code = (
        "from qairt.llm import LLMPipeline; from qairt.engine.run.options import RunOptions;"
        f"LLMPipeline.from_recipe({str(recipe)!r}, cache_dir={str(cache)!r}).construct(RunOptions(jobs=2))"
    )
    chance = random.Random(20)
    seen: dict[Path, float] = {}
    for _ in range(kills):
        child = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        with suppress(subprocess.TimeoutExpired):
            child.wait(chance.uniform(0.4, 0.4 + whole / 6))
        child.kill()
        child.wait()
        entries = {path: path.stat().st_mtime for path in cache.rglob("cache_entry.json")}
        assert seen.items() <= entries.items(), "a finished item was touched"
        seen = entries
    last = LLMPipeline.from_recipe(recipe, cache_dir=cache)
    result = last.construct(RunOptions(jobs=2))
    assert result.status == "done", result.failed
    assert all(entry.altered() is None for entry in last.cache.entries())
    assert made(last) == made(undisturbed)
    found, expected = digests(cache), digests(tmp_path / "undisturbed")
    assert found.keys() == expected.keys()
    differing = {name for name in found if found[name] != expected[name]}
    # Seen once in hundreds of compiles: the vendor's compiler ordered one binary another way. What it was given is the
    # same to the byte, see above; so is what the binary holds.
    binaries = differing - {"SHA256SUMS"}
    assert len(binaries) <= 1
    for name in binaries:
        assert name.endswith(".bin")
        one, other = (folder / "export_bundle" / name for folder in (cache, tmp_path / "undisturbed"))
        assert inspect(one) == inspect(other)
