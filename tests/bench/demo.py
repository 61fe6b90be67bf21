"""What the demo costs, against what it cannot do without: `python tests/bench/demo.py [RECIPE]`.

Runs the recipe cold in a fresh cache directory, then times the bare compiler calls of that run one after another on
the artifacts it left, then runs it again with nothing changed. Everything is printed as a ratio of this one run; run it
on a machine that does nothing else. CPU seconds stand beside the wall's, because they hardly depend on other programs.
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
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

sys.path.insert(0, str(Path(__file__).parent.parent / "support"))

import qnn_calls

from qairt.llm import LLMPipeline
from qairt.stages.facts import model_of, soc_of


class Taken(NamedTuple):
    """Wall and CPU seconds, of this process and its children."""

    wall: float = 0.0
    cpu: float = 0.0

    @classmethod
    def now(cls) -> Taken:
        used = [resource.getrusage(whose) for whose in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
        return cls(time.perf_counter(), sum(each.ru_utime + each.ru_stime for each in used))

    def since(self, before: Taken) -> Taken:
        return Taken(self.wall - before.wall, self.cpu - before.cpu)

    def and_(self, other: Taken) -> Taken:
        return Taken(self.wall + other.wall, self.cpu + other.cpu)


def timed(*command: str) -> tuple[Taken, int, str]:
    """What it took, peak RSS of the largest process in bytes, and what it printed."""
    before = Taken.now()
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    taken = Taken.now().since(before)
    return taken, resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss * 1024, done.stdout


def compiler_calls(pipeline: LLMPipeline, stages: Collection[str]) -> dict[str, Taken]:
    """The compiler calls of these stages again, one at a time, with nothing around them."""
    soc = soc_of(pipeline.env())
    outputs: dict[str, list[Any]] = {}
    links = []
    for planned in pipeline.plan().stages:
        for item in planned.items:
            if planned.stage.name not in stages:
                continue
            output: Any = pipeline.cache.get(item.key, type(item.stage))
            outputs.setdefault(planned.stage.name, []).append(output)
            if planned.stage.name == "generate_context_binary":
                sources = [pipeline.cache.get(source.key, type(source.stage)) for source in item.sources]
                links.append((output.binary.name, [source.quantized_onnx for source in sources]))
    heads = {output.onnx.name: output.onnx for output in outputs["mha_to_sha_conversion"]}
    taken = {name: Taken() for name in ("convert", "quantize", "generate_context_binary") if name in stages}

    def add(stage: str, call: Any, *arguments: Any, **settings: Any) -> None:
        before = Taken.now()
        call(*arguments, **settings)
        taken[stage] = taken[stage].and_(Taken.now().since(before))

    with tempfile.TemporaryDirectory(dir=pipeline.cache_dir) as folder:
        scratch = Path(folder)
        for output in outputs["split_model"] if "convert" in stages else ():
            add("convert", qnn_calls.convert, heads.get(output.onnx.name, output.onnx), scratch / "float.dlc")
        for output in outputs["quantize"]:
            add("quantize", qnn_calls.quantize, output.quantized_onnx, scratch / "quantized.dlc")
        for name, graphs in links:
            named = [(onnx, onnx.stem.replace("-", "_").removesuffix("_quantized")) for onnx in graphs]
            add("generate_context_binary", qnn_calls.link, named, scratch, binary_name=name, soc=soc)
    return taken


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


def row(what: str, measured: str, limit: str, holds: bool) -> None:
    print(f"{what:<58}{measured:>22}   {limit:<22}{'holds' if holds else 'DOES NOT HOLD'}")


def main(recipe: str) -> None:
    cache = Path(tempfile.mkdtemp(prefix="qairt-bench-", dir="."))
    program = shutil.which("qairt", path=str(Path(sys.executable).parent)) or "qairt"
    command = [program, "run", recipe, "--no-tui", "--cache-dir", str(cache)]
    try:
        cold, peak, _ = timed(*command)
        pipeline = LLMPipeline.from_recipe(recipe, cache_dir=cache)
        metrics = json.loads((pipeline.state_folder / "metrics.json").read_text())
        cores = len(os.sched_getaffinity(0))
        with quiet():
            bare = compiler_calls(pipeline, metrics)
        quantization = metrics["quantization"]
        wall = cold.wall / (sum(each.wall for each in bare.values()) / cores + quantization["seconds"])
        cpu = cold.cpu / (sum(each.cpu for each in bare.values()) + quantization["cpu_seconds"])
        print(f"cold run {cold.wall:.1f} s, {cold.cpu:.1f} CPU s on {cores} cores; the items of each stage:")
        for name, stage in metrics.items():
            own = f", bare compiler calls {bare[name].wall:.1f} s, {bare[name].cpu:.1f} CPU s" if name in bare else ""
            print(f"  {name:<26}{stage['seconds']:>8.1f} s{stage['cpu_seconds']:>8.1f} CPU s{own}")
        around = cold.cpu - sum(stage["cpu_seconds"] for stage in metrics.values())
        print(f"  {'around the items':<26}{'':>10}{around:>8.1f} CPU s")
        largest = max([peak, *(stage["peak_rss_mb"] * 2**20 for stage in metrics.values())])
        allowed = 2 * model_of(pipeline.env()).parameter_bytes + 500e6
        again, _, printed = timed(*command, "--json")
        executed = json.loads(printed.splitlines()[-1])["executed"]
        plan, _, _ = timed(program, "plan", recipe, "--cache-dir", str(cache))
        words, _, _ = timed(program, "--help")
        print()
        row("wall / (bare compiler calls / cores + quantization)", f"{wall:.2f}", "<= 1.25", wall <= 1.25)
        row("CPU / (bare compiler calls + quantization)", f"{cpu:.2f}", "<= 1.25", cpu <= 1.25)
        row(
            "largest process / (2 x float32 weights + 500 MB)",
            f"{largest / allowed:.2f} ({largest / 1e6:,.0f} MB)",
            "<= 1.00",
            largest <= allowed,
        )
        row("second run, seconds", f"{again.wall:.2f}", "<= 1.50", again.wall <= 1.5)
        row("second run, items executed", str(executed), "0", executed == 0)
        row("plan, seconds", f"{plan.wall:.2f}", "<= 1.00", plan.wall <= 1.0)
        row("--help, seconds", f"{words.wall:.2f}", "<= 0.30", words.wall <= 0.3)
    finally:
        shutil.rmtree(cache, ignore_errors=True)


if __name__ == "__main__":
    main(sys.argv[1] if len(sys.argv) > 1 else "recipes/smollm2-135m.yaml")
