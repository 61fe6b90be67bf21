"""A tiny model quantized to 4-bit blocks, the input of Genie's binaries; and the command line."""

from __future__ import annotations

import io
import shutil
from contextlib import redirect_stderr, redirect_stdout
from pathlib import Path

import yaml
from tiny_recipe import write_recipe

from qairt.cli.main import main
from qairt.engine.run.options import RunOptions
from qairt.llm import LLMPipeline


def quantized_run(folder: Path) -> LLMPipeline:
    """Blocks of 64; nothing is compiled."""
    recipe = write_recipe(folder, technique="lpbq.yaml", hidden_size=128, intermediate_size=192)
    content = yaml.safe_load(recipe.read_text())
    del content["stages"]["convert"]  # Genie needs no float DLCs
    recipe.write_text(yaml.safe_dump(content, sort_keys=False))
    made = LLMPipeline.from_recipe(recipe, cache_dir=folder / "cache")
    result = made.construct(RunOptions(executor="inline", until="quantize"))
    assert result.status == "done", result.failed
    return made


def bare(pipeline: LLMPipeline, folder: Path) -> LLMPipeline:
    """The same run in a cache of its own, without Genie's binaries."""
    cache = folder / "cache"
    shutil.copytree(pipeline.cache_dir, cache, ignore=lambda folder, names: {"genie_binary", "verify"} & set(names))
    return LLMPipeline.from_recipe(pipeline.recipe.source, cache_dir=cache)


def command(*words: str | Path) -> tuple[int, str, str]:
    """Exit code, standard output and standard error."""
    out, err = io.StringIO(), io.StringIO()
    with redirect_stdout(out), redirect_stderr(err):
        code = main([str(word) for word in words])
    return code, out.getvalue(), err.getvalue()
