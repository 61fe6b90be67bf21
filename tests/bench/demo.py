"""What the demo costs, against what it cannot do without: `python tests/bench/demo.py [RECIPE]`.

Runs the recipe cold in a fresh cache directory, then times the bare compiler calls of that run one after another on
the artifacts it left, then runs it again with nothing changed. Everything is printed as a ratio of this one run; run it
on a machine that does nothing else.
"""

from __future__ import annotations

import json
import os
import resource
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parent.parent / "support"))

import qnn_calls

from qairt.llm import LLMPipeline
from qairt.stages.facts import model_of, soc_of


def timed(*command: str) -> tuple[float, int, str]:
    """Seconds, peak RSS of the largest process in bytes, and what it printed."""
    before = time.perf_counter()
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    seconds = time.perf_counter() - before
    return seconds, resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss * 1024, done.stdout


def compiler_seconds(pipeline: LLMPipeline) -> dict[str, float]:
    """Each stage's compiler calls again, one at a time, with nothing around them."""
    soc = soc_of(pipeline.env())
    outputs: dict[str, list[Any]] = {}
    links = []
    for planned in pipeline.plan().stages:
        for item in planned.items:
            output: Any = pipeline.cache.get(item.key, type(item.stage))
            outputs.setdefault(planned.stage.name, []).append(output)
            if planned.stage.name == "generate_context_binary":
                sources = [pipeline.cache.get(source.key, type(source.stage)) for source in item.sources]
                links.append((output.binary.name, [source.quantized_onnx for source in sources]))
    heads = {output.onnx.name: output.onnx for output in outputs["mha_to_sha_conversion"]}
    seconds = dict.fromkeys(("convert", "quantize", "generate_context_binary"), 0.0)
    with tempfile.TemporaryDirectory(dir=pipeline.cache_dir) as folder:
        scratch = Path(folder)
        for output in outputs["split_model"]:
            onnx = heads.get(output.onnx.name, output.onnx)
            seconds["convert"] += clock(qnn_calls.convert, onnx, scratch / "float.dlc")
        for output in outputs["quantize"]:
            seconds["quantize"] += clock(qnn_calls.quantize, output.quantized_onnx, scratch / "quantized.dlc")
        for name, graphs in links:
            named = [(onnx, onnx.stem.replace("-", "_").removesuffix("_quantized")) for onnx in graphs]
            seconds["generate_context_binary"] += clock(qnn_calls.link, named, scratch, binary_name=name, soc=soc)
    return seconds


@contextmanager
def quiet() -> Iterator[None]:
    """What the compiler prints goes nowhere."""
    kept = os.dup(2)
    with open(os.devnull, "wb") as nowhere:
        os.dup2(nowhere.fileno(), 2)
        try:
            yield
        finally:
            os.dup2(kept, 2)
            os.close(kept)


def clock(call: Any, *arguments: Any, **settings: Any) -> float:
    before = time.perf_counter()
    call(*arguments, **settings)
    return time.perf_counter() - before


def row(what: str, measured: str, limit: str, holds: bool) -> None:
    print(f"{what:<58}{measured:>22}   {limit:<22}{'holds' if holds else 'DOES NOT HOLD'}")


def main(recipe: str) -> None:
    cache = Path(tempfile.mkdtemp(prefix="qairt-bench-", dir="."))
    program = shutil.which("qairt", path=str(Path(sys.executable).parent)) or "qairt"
    command = [program, "run", recipe, "--no-tui", "--cache-dir", str(cache)]
    try:
        wall, peak, _ = timed(*command)
        pipeline = LLMPipeline.from_recipe(recipe, cache_dir=cache)
        metrics = json.loads((pipeline.state_folder / "metrics.json").read_text())
        cores = len(os.sched_getaffinity(0))
        with quiet():
            bare = compiler_seconds(pipeline)
        floor = sum(bare.values()) / cores + metrics["quantization"]["seconds"]
        print(f"cold run {wall:.1f} s on {cores} cores; each stage's share of the items' time:")
        total = sum(stage["seconds"] for stage in metrics.values())
        for name, stage in metrics.items():
            own = f", bare compiler calls {bare[name]:.1f} s" if name in bare else ""
            print(f"  {name:<26}{stage['seconds']:>8.1f} s {stage['seconds'] / total:>6.0%}{own}")
        largest = max([peak, *(stage["peak_rss_mb"] * 2**20 for stage in metrics.values())])
        allowed = 2 * model_of(pipeline.env()).parameter_bytes + 500e6
        again, _, printed = timed(*command, "--json")
        executed = json.loads(printed.splitlines()[-1])["executed"]
        plan, _, _ = timed(program, "plan", recipe, "--cache-dir", str(cache))
        words, _, _ = timed(program, "--help")
        print()
        row(
            "wall / (bare compiler calls / cores + quantization)", f"{wall / floor:.2f}", "<= 1.30", wall / floor <= 1.3
        )
        row(
            "largest process / (2 x float32 weights + 500 MB)",
            f"{largest / allowed:.2f} ({largest / 1e6:,.0f} MB)",
            "<= 1.00",
            largest <= allowed,
        )
        row("second run, seconds", f"{again:.2f}", "<= 1.50", again <= 1.5)
        row("second run, items executed", str(executed), "0", executed == 0)
        row("plan, seconds", f"{plan:.2f}", "<= 1.00", plan <= 1.0)
        row("--help, seconds", f"{words:.2f}", "<= 0.30", words <= 0.3)
    finally:
        shutil.rmtree(cache, ignore_errors=True)


if __name__ == "__main__":
    main(sys.argv[1] if len(sys.argv) > 1 else "recipes/smollm2-135m.yaml")
