"""LoRA adapters on a quantized base: perplexity with float and with quantized weights, activations and adapters.

    python tests/bench/lora.py [--adapters upper,plain] [--steps 60] [--calibration 4] [--chunks 6] [--technique NAME]
                               [--tune 60] [--rate 5e-4]

peft trains each adapter on the float model and the text that qairt ships, rewritten in its own way. The technique
then quantizes the base, calibrated on plain text and on each adapter's text with the adapter on. Perplexity is of parts
of other text, rewritten in the same way. Each row is one concurrency:

    float base, float + adapter        the adapter's gain
    W4                                 the base's weights quantized, activations and adapters float
    all                                everything quantized, as the graphs compute it

`all / float` is to stay within 1.35, `all / W4` within 1.03. Adapters are kept in `.bench/lora`.

With `--tune N` each adapter is then trained for N more steps on the quantized weights, as `qairt lora tune` does, on
the text that it was trained on. A second table has the same perplexities after that, on the grids of the finished
graphs, and the share of what quantization cost that is won back: (all before - all after) / (all before - float).
"""

from __future__ import annotations

import argparse
import re
import shutil
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from peft import LoraConfig, get_peft_model
from transformers import AutoModelForCausalLM

from qairt.evaluate.perplexity import perplexity
from qairt.model.describe import ModelDescription, describe_model
from qairt.model.lora.adapted import Adapter
from qairt.model.lora.adapter import read_adapter
from qairt.model.lora.shape import branch_values, shape_of
from qairt.model.parameters import Parameters, open_parameters
from qairt.model.tokenizer import Tokenizer
from qairt.quant.apply_technique import apply_technique
from qairt.quant.encodings import Encodings
from qairt.quant.execution import Execution
from qairt.quant.lora import AdaptedText, LoraCalibration
from qairt.quant.measure.chunks import chunks_of, other_chunks
from qairt.quant.tune.adapter import Training, tune_adapter
from qairt.results.tuned_adapter import write_adapter
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
    parser.add_argument("--tune", type=int, default=0, metavar="STEPS", help="train on quantized weights too")
    parser.add_argument("--rate", type=float, default=Training().rate, help="of --tune")
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
        table = Table(given.chunks, given.threads, tokenizer, parameters, changed, result.encodings)
        scores = table.print_rows(values)
        if given.tune:
            print(f"after {given.tune} steps on the quantized weights:")
            tuned, training = {}, Training(steps=given.tune, rate=given.rate)
            for name, adapter in adapters.items():
                trained_on = tokenizer.encode(STYLES[name](plain))
                found = tuned_on(changed, result.encodings, adapter, trained_on, training, given.threads)
                tuned[name] = branch_values(shape, [(found, 1.0)], parameters)
            after = table.print_rows(tuned)
            for name in tuned:
                cost = scores[name].everything - scores[name].adapted
                closed = (scores[name].everything - after[name].everything) / cost
                print(f"{name:8}{closed:.0%} of what quantization cost is won back")
        return int(any(score.is_over for name, score in scores.items() if name != "base"))


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


def tuned_on(
    changed: Parameters, encodings: Encodings, adapter: Adapter, text: Sequence[int], training: Training, threads: int
) -> Adapter:
    """An adapter after more training on quantized weights, read back from its folder."""
    ids, length = np.asarray(text, np.int64), training.length
    chunks = [ids[start : start + length] for start in range(0, len(ids) - length, length)]
    started = time.process_time()
    with tempfile.TemporaryDirectory() as folder:
        execution = Execution(Path(folder), threads)
        found = tune_adapter(changed, encodings, adapter, chunks, training, work="bench", execution=execution)
    seconds = time.process_time() - started
    print(f"{adapter.name}: loss {found.before:.4f} -> {found.after:.4f}, {seconds:.0f} CPU seconds", flush=True)
    written = adapter.path.with_name(f"{adapter.path.name}-tuned")
    shutil.rmtree(written, ignore_errors=True)
    written.mkdir()
    write_adapter(adapter, found, written)
    return read_adapter(adapter.name, written, changed.config)


@dataclass(frozen=True)
class Scores:
    """Perplexities of one concurrency."""

    plain: float
    adapted: float
    rounded: float
    everything: float

    @property
    def is_over(self) -> bool:
        return self.everything > MOST_OF_FLOAT * self.adapted or self.everything > MOST_OF_WEIGHTS * self.rounded


@dataclass(frozen=True)
class Table:
    """The models that are compared, and on how much text."""

    chunks: int
    threads: int
    tokenizer: Tokenizer
    parameters: Parameters
    changed: Parameters
    encodings: Encodings

    def print_rows(self, values: Mapping[str, Mapping[str, np.ndarray]]) -> dict[str, Scores]:
        """A row for the base and for each adapter, by its values."""
        print(f"{'':8}{'float base':>12}{'float':>9}{'W4':>9}{'all':>9}{'all / float':>13}{'all / W4':>10}")
        found = {}
        for name in ("base", *values):
            score = found[name] = self._scores(name, values.get(name))
            row = f"{name:8}{score.plain:12.2f}{score.adapted:9.2f}{score.rounded:9.2f}{score.everything:9.2f}"
            ratios = f"{score.everything / score.adapted:13.3f}{score.everything / score.rounded:10.3f}"
            print(row + ratios + ("   OVER" if score.is_over else ""), flush=True)
        return found

    def _scores(self, name: str, branches: Mapping[str, np.ndarray] | None) -> Scores:
        text = STYLES.get(name, str)((DATA / "dev.txt").read_text())
        read = chunks_of(self.tokenizer.encode(text), count=self.chunks, length=LENGTH, where="dev.txt")

        def score(parameters: Parameters, encodings: Encodings, branches: Mapping[str, np.ndarray] | None) -> float:
            # without `branches` the simulation leaves them out, which is what zeros give
            return perplexity(parameters, encodings, read, threads=self.threads, branches=branches)

        plain = score(self.parameters, Encodings(), None)
        adapted = plain if branches is None else score(self.parameters, Encodings(), branches)
        rounded = score(self.changed, Encodings(params=self.encodings.params), branches)
        return Scores(plain, adapted, rounded, score(self.changed, self.encodings, branches))


if __name__ == "__main__":
    raise SystemExit(main())
