"""How time, memory and disk grow with a model: the whole chain on random models of known shapes.

    python tests/bench/growth.py [--shapes 135M,1B,3B,8B] [--layers 2,4] [--context 4096] [--technique fast]
                                 [--memory 8G] [--disk 40G] [--part 2]
    python tests/bench/growth.py --clean

Writes random checkpoints (bfloat16) into `.bench`, runs `qairt run` with two jobs on each into an empty cache, which
keeps the bundle only, and prints what a run took: CPU seconds and the peaks of the memory of all its processes together
(each shared page counted once) and of its cache on disk. Two numbers of layers give a slope: what another layer takes,
and what the whole model would.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from quantize_random_model import arguments_or_clean, write_random_model

from qairt.files import bytes_below
from qairt.profiling.process_tree import ProcessTree, SharedMemory

ROOT = Path(__file__).parents[2]
PERIOD_S = 0.5


@dataclass(frozen=True)
class Shape:
    """A published model's."""

    layers: int
    config: dict[str, Any]


def shape(
    layers: int, hidden: int, mlp: int, heads: int, kv: int, head: int, *, vocab: int = 128256, tied: bool = True
) -> Shape:
    keys = ("hidden_size", "intermediate_size", "num_attention_heads", "num_key_value_heads", "head_dim", "vocab_size")
    sizes = dict(zip(keys, (hidden, mlp, heads, kv, head, vocab), strict=True))
    return Shape(layers, {**sizes, "tie_word_embeddings": tied})


SHAPES = {
    "135M": shape(30, 576, 1536, 9, 3, 64, vocab=49152),
    "1B": shape(16, 2048, 8192, 32, 8, 64),
    "3B": shape(28, 3072, 8192, 24, 8, 128),
    "8B": shape(32, 4096, 14336, 32, 8, 128, tied=False),
}
"""SmolLM2-135M, Llama-3.2-1B, Llama-3.2-3B, Llama-3.1-8B."""


@dataclass(frozen=True)
class Taken:
    """What a run took: seconds, CPU seconds of all processes, bytes of memory and of disk at their peaks."""

    seconds: float
    cpu: float
    memory: int
    disk: int

    def __str__(self) -> str:
        return f"{self.seconds:8,.0f} s{self.cpu:8,.0f} CPU s{self.memory / 1e9:8.2f} GB{self.disk / 1e9:8.2f} GB"


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--shapes", default=",".join(SHAPES))
    parser.add_argument("--layers", default="2,4", help="as many models of each shape; `all` for the whole model")
    parser.add_argument("--context", type=int, default=4096)
    parser.add_argument("--technique", default="fast")
    parser.add_argument("--memory", help="what a run may take, as for `qairt run`; the free RAM otherwise")
    parser.add_argument("--disk", help="the same of its cache")
    parser.add_argument("--part", type=int, help="layers of a part, the head in one of its own; chosen otherwise")
    parser.add_argument("--set", action="append", default=[], help="another setting of the recipe: stages.x.y=z")
    folder = ROOT / ".bench" / "growth"
    given = arguments_or_clean(parser, folder)
    if given is None:
        return 0
    if unknown := [name for name in given.shapes.split(",") if name not in SHAPES]:
        parser.error(f"no such shape: {', '.join(unknown)}; there are {', '.join(SHAPES)}")
    failed = False
    for name in given.shapes.split(","):
        whole = SHAPES[name].layers
        points = []
        for layers in [whole if number == "all" else int(number) for number in given.layers.split(",")]:
            model = folder / f"{name}-{layers}-layers"
            write_random_model(model, layers, given.tokenizer, SHAPES[name].config)
            limits = [f"--{name}={value}" for name in ("memory", "disk") if (value := getattr(given, name))]
            split = []
            if given.part:
                parts = -(-layers // given.part) + 2
                split = ["stages.split_model.split_lm_head=true", f"stages.split_model.num_splits={parts}"]
            taken = run(model, given.context, given.technique, [*limits, *split, *given.set])
            failed |= taken is None
            print(f"{name:>5}{layers:>4} layers   {taken or f'FAILED, see {model}.log'}", flush=True)
            if taken is not None:
                points.append((layers, taken))
        if len(points) > 1:
            print(f"{name:>5}{whole:>4} layers   {extrapolated(points, whole)}   by the slope", flush=True)
    return 1 if failed else 0


def extrapolated(points: list[tuple[int, Taken]], layers: int) -> Taken:
    """What `layers` would take, from the first and the last point."""
    (few, one), (many, other) = points[0], points[-1]
    more = (layers - few) / (many - few)

    def line(a: float, b: float) -> float:
        return a + more * (b - a)

    return Taken(
        line(one.seconds, other.seconds),
        line(one.cpu, other.cpu),
        max(one.memory, other.memory, round(line(one.memory, other.memory))),
        round(line(one.disk, other.disk)),
    )


def run(model: Path, context: int, technique: str, words: list[str]) -> Taken | None:
    """Into an empty cache, with other words of the command; None if the run failed."""
    recipe, cache = model.with_suffix(".yaml"), model.with_name(f"{model.name}-cache")
    shutil.rmtree(cache, ignore_errors=True)
    content = {
        "model_id_or_path": str(model),
        "soc_details": "chipset:SM8650",
        "keep": "bundle",
        "stages": {
            "model_loading": {},
            "quantization": {"recipe": f"{technique}.yaml", "calibration_chunks": 4},
            "export": {},
            "prepare_exports": {"arn": [1, 128], "context_length": context},
            "split_model": {"num_splits": "auto"},
            "mha_to_sha_conversion": {},
            "convert": {},
            "quantize": {},
            "generate_context_binary": {"emulate": "none"},
            "export_bundle": {},
        },
    }
    recipe.write_text(json.dumps(content, indent=1) + "\n")
    command = [sys.executable, "-m", "qairt", "run", str(recipe), "--no-tui", "--jobs", "2", "--cache-dir", str(cache)]
    memory = disk = 0
    with Path(f"{model}.log").open("wb") as log:
        begun = time.perf_counter()
        child = subprocess.Popen([*command, *words], stdout=log, stderr=subprocess.STDOUT, stdin=subprocess.DEVNULL)
        tree, resident = ProcessTree(child.pid), SharedMemory()
        while os.waitid(os.P_PID, child.pid, os.WEXITED | os.WNOHANG | os.WNOWAIT) is None:
            memory = max(memory, resident.total(tree.sample().values()))
            disk = max(disk, bytes_below(cache))
            time.sleep(PERIOD_S)
        seconds = time.perf_counter() - begun
        _, status, usage = os.wait4(child.pid, 0)
        child.returncode = os.waitstatus_to_exitcode(status)
    return None if child.returncode else Taken(seconds, usage.ru_utime + usage.ru_stime, memory, disk)


if __name__ == "__main__":
    raise SystemExit(main())
