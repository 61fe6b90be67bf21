"""LoRA adapters on a quantized base: perplexity with float and with quantized weights, activations and adapters.

    python tests/bench/lora.py [--adapters upper,plain] [--steps 60] [--calibration 4] [--chunks 6] [--technique NAME]

peft trains each adapter on the float model and the text that qairt ships, rewritten in its own way. The technique
then quantizes the base, calibrated on plain text and on each adapter's text with the adapter on. Perplexity is of parts
of other text, rewritten in the same way. Each row is one concurrency:

    float base, float + adapter        the adapter's gain
    W4                                 the base's weights quantized, activations and adapters float
    all                                everything quantized, as the graphs compute it

`all / float` is to stay within 1.35, `all / W4` within 1.03. Adapters are kept in `.bench/lora`.
"""

from __future__ import annotations

import argparse
import re
import tempfile
import time
from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np
import torch
from peft import LoraConfig, get_peft_model
from transformers import AutoModelForCausalLM

from qairt.evaluate.perplexity import perplexity
from qairt.model.describe import ModelDescription, describe_model
from qairt.model.lora.adapter import read_adapter
from qairt.model.lora.shape import branch_values, shape_of
from qairt.model.parameters import Parameters, open_parameters
from qairt.model.tokenizer import Tokenizer
from qairt.quant.apply_technique import apply_technique
from qairt.quant.encodings import Encodings
from qairt.quant.execution import Execution
from qairt.quant.lora import AdaptedText, LoraCalibration
from qairt.quant.measure.chunks import chunks_of, other_chunks
from qairt.stages.technique_file import load_technique

ROOT = Path(__file__).parents[2]
DATA = ROOT / "src" / "qairt" / "data"
RECIPES = ROOT / "recipes" / "quantization"
STYLES: dict[str, Callable[[str], str]] = {
    "upper": str.upper,
    "plain": lambda text: re.sub(r"[^a-z0-9\n ]", "", text.lower()),
    "lines": lambda text: re.sub(r"\. +", ".\n- ", text),
}
"""How each adapter's text is written."""
LINEARS = ["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"]
LENGTH = 128
"""Tokens of a sequence while training, and of a chunk that is predicted."""
MOST_OF_FLOAT, MOST_OF_WEIGHTS = 1.35, 1.03


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--adapters", default="upper,plain", help=f"with commas between: {', '.join(STYLES)}")
    parser.add_argument("--steps", type=int, default=60, help="of training")
    parser.add_argument("--batch", type=int, default=4, help="sequences of 128 tokens in a step")
    parser.add_argument("--rank", type=int, default=8)
    parser.add_argument("--calibration", type=int, default=4, help="chunks of 512 tokens for each text")
    parser.add_argument("--chunks", type=int, default=6, help="of 128 tokens to predict for each text")
    parser.add_argument("--technique", default="lpbq_seqmse")
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--model", type=Path, default=ROOT / ".demo" / "SmolLM2-135M-Instruct.Q4_1.gguf")
    given = parser.parse_args()
    torch.set_num_threads(given.threads)
    model, tokenizer = describe_model(given.model), Tokenizer.open(given.model)
    names = given.adapters.split(",")
    folders = {name: trained(name, model, tokenizer, given.steps, given.batch, given.rank) for name in names}

    parameters = open_parameters(model.source, model.config)
    adapters = {name: read_adapter(name, folder, model.config) for name, folder in folders.items()}
    ranks = {name: adapter.ranks for name, adapter in adapters.items()}
    shape = shape_of(model.config, [[name] for name in names], ranks)
    values = {name: branch_values(shape, [(adapter, 1.0)], parameters) for name, adapter in adapters.items()}

    def calibrated_on(text: str) -> list[np.ndarray]:
        return chunks_of(tokenizer.encode(text), count=given.calibration, length=512, where="calib.txt")

    plain = (DATA / "calib.txt").read_text()
    texts = [AdaptedText(name, calibrated_on(STYLES[name](plain)), values[name]) for name in names]
    started = time.perf_counter()
    with tempfile.TemporaryDirectory() as folder:
        result = apply_technique(
            parameters,
            calibrated_on(plain),
            lambda wanted: other_chunks(tokenizer.encode(plain), given.calibration, 512, wanted),
            load_technique(RECIPES / f"{given.technique}.yaml"),
            lambda result: 0.0,
            lora=LoraCalibration(shape, texts),
            execution=Execution(Path(folder), given.threads),
        )
        print(f"{given.technique}: {time.perf_counter() - started:.0f} s for {1 + len(names)} texts")
        changed = parameters.changed_by(result.overlay)
        return report(given.chunks, given.threads, tokenizer, parameters, changed, result.encodings, values)


def trained(name: str, model: ModelDescription, tokenizer: Tokenizer, steps: int, batch: int, rank: int) -> Path:
    """The folder of an adapter that continues text in its style, trained unless it is kept."""
    folder = ROOT / ".bench" / "lora" / f"{model.source.stem}-{name}-{steps}x{batch}-{rank}"
    if (folder / "adapter_model.safetensors").exists():
        return folder
    source = model.source
    where = {"gguf_file": source.name} if source.is_file() else {}
    base = AutoModelForCausalLM.from_pretrained(source.parent if where else source, dtype=torch.float32, **where)
    torch.manual_seed(0)
    settings = LoraConfig(r=rank, lora_alpha=2 * rank, target_modules=LINEARS, task_type="CAUSAL_LM")
    wrapped = get_peft_model(base, settings).train()
    ids = np.asarray(tokenizer.encode(STYLES[name]((DATA / "calib.txt").read_text())))
    random = np.random.default_rng(0)
    optimizer = torch.optim.AdamW([value for value in wrapped.parameters() if value.requires_grad], lr=1e-3)
    for step in range(steps):
        starts = random.integers(0, len(ids) - LENGTH, batch)
        read = torch.from_numpy(np.stack([ids[start : start + LENGTH] for start in starts]).astype(np.int64))
        loss = wrapped(input_ids=read, labels=read).loss
        optimizer.zero_grad()
        loss.backward()
        for group in optimizer.param_groups:
            group["lr"] = 1e-3 * (1 - step / steps)
        optimizer.step()
        if step % 10 == 0:
            print(f"{name}: step {step} of {steps}, loss {loss.item():.3f}", flush=True)
    wrapped.save_pretrained(folder)
    return folder


def report(
    chunks: int,
    threads: int,
    tokenizer: Tokenizer,
    parameters: Parameters,
    changed: Parameters,
    encodings: Encodings,
    values: Mapping[str, Mapping[str, np.ndarray]],
) -> int:
    """Print the table; 1 if a ratio is over its limit."""
    text, worst = (DATA / "dev.txt").read_text(), 0
    weights = Encodings(params=encodings.params)
    print(f"{'':8}{'float base':>12}{'float':>9}{'W4':>9}{'all':>9}{'all / float':>13}{'all / W4':>10}")
    for name in ("base", *values):
        style = STYLES.get(name, str)
        read = chunks_of(tokenizer.encode(style(text)), count=chunks, length=LENGTH, where="dev.txt")
        branches = values.get(name)
        plain = perplexity(parameters, Encodings(), read, threads=threads)
        adapted = plain
        if branches is not None:
            adapted = perplexity(parameters, Encodings(), read, threads=threads, branches=branches)
        rounded = perplexity(changed, weights, read, threads=threads, branches=branches)
        # without `branches` the simulation leaves them out, which is what zeros give
        everything = perplexity(changed, encodings, read, threads=threads, branches=branches)
        of_float, of_weights = everything / adapted, everything / rounded
        limits = of_float > MOST_OF_FLOAT or of_weights > MOST_OF_WEIGHTS
        worst |= limits and name != "base"
        row = f"{name:8}{plain:12.2f}{adapted:9.2f}{rounded:9.2f}{everything:9.2f}{of_float:13.3f}{of_weights:10.3f}"
        print(row + ("   OVER" if limits else ""), flush=True)
    return int(worst)


if __name__ == "__main__":
    raise SystemExit(main())
