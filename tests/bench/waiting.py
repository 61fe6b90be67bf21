"""What one waits for with a finished run: `python tests/bench/waiting.py [RECIPE] [--cache-dir DIR]`.

1. Opening the graphs that `qairt generate` runs, first those that read the prompt, then those that generate, against
   ONNX Runtime opening the same files one after another and folding their weights itself.
2. Reading text with simulated quantization, as `qairt evaluate --target quantsim` does, against the same with products
   in float32 where the processor has those of bytes, against the float model, and against its products of activations
   and weights alone.

Prints ratios within this one run: of the least CPU seconds of each, which hardly depend on other programs, and of the
least seconds of the wall. Reading takes one thread.
"""

from __future__ import annotations

import argparse
import resource
import time
from collections.abc import Callable, Mapping, Sequence
from importlib.resources import files
from pathlib import Path
from typing import NamedTuple
from unittest.mock import patch

import numpy as np
import onnxruntime
import torch
from numpy.typing import NDArray

from qairt.evaluate.blockwise import HEAD_ROWS, SEGMENT, BlockwiseModel
from qairt.evaluate.text_metrics import Perplexity
from qairt.evaluate.text_run import scored
from qairt.llm import LLMPipeline
from qairt.model.parameters import Parameters
from qairt.quant import simulate
from qairt.quant.encodings import Encodings
from qairt.quant.encodings_json import read_encodings
from qairt.quant.threads import one_thread_each
from qairt.runtime.cpu import session_options
from qairt.runtime.cpu_parts import CpuParts
from qairt.runtime.parts import PartGraph
from qairt.stages.facts import model_of, open_quantized
from qairt.stages.quantization import Quantized

ROUNDS = 3
TOKENS = 512


class Taken(NamedTuple):
    """Seconds."""

    wall: float
    cpu: float


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("recipe", nargs="?", default="recipes/smollm2-135m.yaml")
    parser.add_argument("--cache-dir", type=Path)
    parser.add_argument("--chunks", type=int, default=4, help=f"of {TOKENS} tokens")
    given = parser.parse_args()
    pipeline = LLMPipeline.from_recipe(given.recipe, cache_dir=given.cache_dir)
    of_ar = pipeline.quantized_parts()
    ars = sorted({max(of_ar), min(of_ar)}, reverse=True)
    graphs = [of_ar[ar] for ar in ars]
    compare(
        f"opening {len(graphs[0])} parts of AR {', then of AR '.join(map(str, ars))}",
        {"qairt": lambda: open_with_qairt(graphs), "ONNX Runtime": lambda: open_with_onnx_runtime(graphs)},
    )
    run = pipeline.finished()
    output, source = run.only_output("quantization", Quantized), model_of(run.env).source
    simulated = open_quantized(source, run.config, output.changed_weights, output.rotation)
    encodings = read_encodings(output.encodings.read_text())
    text = (files("qairt") / "data" / "dev.txt").read_text()
    ids = np.asarray(run.tokenizer.encode(text), np.int64)
    chunks = [ids[start : start + TOKENS] for start in range(0, given.chunks * TOKENS, TOKENS)]
    compare(
        f"reading {len(chunks)} chunks of {TOKENS} tokens",
        {
            "simulated": lambda: read(simulated, encodings, chunks),
            "products in float32": lambda: read_without_bytes(simulated, encodings, chunks),
            "float": lambda: read(open_quantized(source, run.config, None, None), Encodings(), chunks),
            "products alone": lambda: multiply(simulated, len(chunks)),
        },
    )


def compare(what: str, ways: Mapping[str, Callable[[], None]]) -> None:
    """The first way against each of the others, in turns."""
    least = dict.fromkeys(ways, Taken(float("inf"), float("inf")))
    for _ in range(ROUNDS):
        for name, way in ways.items():
            before = now()
            way()
            taken = Taken(*(after - then for after, then in zip(now(), before, strict=True)))
            least[name] = Taken(*map(min, least[name], taken))
    print(what)
    first, *others = ways
    for name, (wall, cpu) in least.items():
        print(f"  {name:<20}{cpu:>8.2f} CPU s{wall:>8.2f} s")
    for name in others:
        ratios = (mine / theirs for mine, theirs in zip(least[first], least[name], strict=True))
        wall, cpu = ratios
        print(f"  {f'{first} / {name}':<32}{cpu:>6.2f} in CPU seconds, {wall:.2f} of the wall")


def now() -> Taken:
    used = resource.getrusage(resource.RUSAGE_SELF)
    return Taken(time.perf_counter(), used.ru_utime + used.ru_stime)


def open_with_qairt(graphs: Sequence[Sequence[PartGraph]]) -> None:
    """As a chain does: parts of only one AR are open at a time."""
    opener = CpuParts()
    for parts in graphs:
        runners = [opener(part) for part in parts]
        for runner in runners:
            runner.ready()
        for runner in runners:
            runner.close()
    opener.release()


def open_with_onnx_runtime(graphs: Sequence[Sequence[PartGraph]]) -> None:
    for parts in graphs:
        options = [session_options(threads=None, fold_weights=True) for _ in parts]
        sessions = [
            onnxruntime.InferenceSession(part.onnx, each, providers=["CPUExecutionProvider"])
            for part, each in zip(parts, options, strict=True)
        ]
        del sessions


def read(parameters: Parameters, encodings: Encodings, chunks: Sequence[NDArray[np.int64]]) -> None:
    with one_thread_each(1) as pool:
        model = BlockwiseModel(parameters, encodings, pool)
        model.read(chunks, lambda fraction: None)
        for index, ids in enumerate(chunks):
            pool.submit(scored, model, None, index, ids, [Perplexity()]).result()
        model.close()


def read_without_bytes(parameters: Parameters, encodings: Encodings, chunks: Sequence[NDArray[np.int64]]) -> None:
    with patch.object(simulate, "has_integer_products", lambda device: False):
        read(parameters, encodings, chunks)


@torch.inference_mode()
def multiply(parameters: Parameters, chunks: int) -> None:
    """As many rows at a time as `BlockwiseModel` takes."""
    shapes = [parameters.shape(name) for name in parameters.names_beside_experts(0)]
    layer = [shape for shape in shapes if len(shape) == 2]
    head = parameters.shape("lm_head.weight")
    with one_thread_each(1) as pool:
        for rows, repeats, each in ((SEGMENT, parameters.config.num_layers, layer), (HEAD_ROWS, 1, [head])):
            for shape in each:
                inputs, weight = torch.ones(rows, shape[0]), torch.ones(*shape)
                for _ in range(repeats * chunks * TOKENS // rows):
                    pool.submit(torch.matmul, inputs, weight).result()


if __name__ == "__main__":
    main()
