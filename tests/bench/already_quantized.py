"""Is it worth keeping the integers of a checkpoint that is already 4-bit?

Makes a checkpoint like GPTQ's (symmetric int4, one half-precision scale per group) from a model's float weights, and
puts it on the NPU's grid (LPBQ: an integer of 1 to 16 per group times a float per channel) in several ways:

    again, rtn    quantized again, scales from the largest weight of a block (what `lpbq_rtn` does)
    again, mse    quantized again, scales with the least squared error of the weights (what `lpbq_mse` does)
    kept          its integers; each group's scale rounded to the nearest of the grid
    kept, fitted  the same, with the channel scale that fits its groups best
    nearest       the nearest values on the grid of `kept, fitted`: what LPBQ does with such weights
    a technique   one of recipes/quantization with calibration text (`--techniques lpbq_seqmse`), which searches no
                  scales for such weights; `--search` lets it

Run: python tests/bench/already_quantized.py [--model PATH] [--chunks 16]; without a model, a random tiny one.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import torch
from quantize_measure import perplexity
from torch import Tensor

sys.path.insert(0, str(Path(__file__).parents[1] / "support"))

from qairt.model.describe import describe_model
from qairt.model.open_weights import open_weights
from qairt.model.parameters import Parameters
from qairt.model.reference import Reference
from qairt.model.tokenizer import Tokenizer
from qairt.quant.encodings import Encodings
from qairt.quant.execution import Execution
from qairt.quant.quantize_model import quantize_model
from qairt.quant.simulate import Simulated
from qairt.quant.techniques import lpbq
from qairt.quant.techniques.lpbq_grid import best_scales, largest_scales, nearest, weight_cost
from qairt.quant.techniques.stored_grid import fitted_scales
from qairt.stages.technique_file import load_technique

ROOT = Path(__file__).parents[2]
LENGTH = 128
Scales = tuple[Tensor, Tensor]
"""Channel scales [out], block integers [blocks, out]."""


def checkpoint(weight: Tensor, group: int, clip: float = 1.0) -> tuple[Tensor, Tensor]:
    """Integers [in, out] of -8 to 7 and scales [groups, out], as GPTQ's symmetric quantizer has them.

    Args:
        clip: of the largest weight; 1 for none.
    """
    blocks = weight.reshape(-1, group, weight.shape[1])
    scales = (2 * clip * blocks.abs().amax(1) / 15).clamp(min=1e-6).half().float()
    return (blocks / scales[:, None]).round().clamp(-8, 7).reshape(weight.shape), scales


def clipped(weight: Tensor, group: int) -> tuple[Tensor, Tensor]:
    """The clipping with the least squared error of each group, as AWQ searches for it."""
    best: tuple[Tensor, Tensor, Tensor] | None = None
    for clip in torch.linspace(1.0, 0.7, 7).tolist():
        integers, scales = checkpoint(weight, group, clip)
        error = (integers * scales.repeat_interleave(group, 0) - weight).square()
        error = error.reshape(-1, group, weight.shape[1]).sum(1)
        if best is None:
            best = integers, scales, error
            continue
        better = error < best[2]
        wide = better.repeat_interleave(group, 0)
        best = torch.where(wide, integers, best[0]), torch.where(better, scales, best[1]), error.minimum(best[2])
    assert best is not None
    return best[0], best[1]


def kept(scales: Tensor) -> Scales:
    channel = scales.amax(0) / 16
    return channel, (scales / channel).round().clamp(1, 16)


def ways(integers: Tensor, scales: Tensor, group: int, pool: ThreadPoolExecutor) -> dict[str, Tensor]:
    """The values [in, out] of each way on the NPU's grid."""
    weight = integers * scales.repeat_interleave(group, 0)

    def grid(found: Scales) -> Tensor:
        return (found[1] * found[0]).repeat_interleave(group, 0)

    fit = grid(fitted_scales(weight, scales))
    mse = grid(best_scales(weight, group, 20, weight_cost(None, group), pool))
    rtn = grid(largest_scales(weight, group))
    return {
        "again, rtn": nearest(weight, rtn),
        "again, mse": nearest(weight, mse),
        "kept": integers * grid(kept(scales)),
        "kept, fitted": integers * fit,
        "nearest": nearest(weight, fit),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", type=Path)
    parser.add_argument("--text", type=Path, default=ROOT / "shared" / "data" / "dev.txt")
    parser.add_argument("--chunks", type=int, default=16)
    parser.add_argument("--techniques", nargs="+", default=[])
    parser.add_argument("--search", action="store_true")
    parser.add_argument("--calibration-text", type=Path, default=ROOT / "shared" / "data" / "calib.txt")
    parser.add_argument("--groups", type=int, nargs="+", default=[32, 64, 128])
    parser.add_argument("--kinds", nargs="+", default=["rounded", "clipped"], choices=["rounded", "clipped"])
    parser.add_argument("--threads", type=int, default=1)
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    if arguments.search:
        lpbq.stored_scales = lambda weight, block_size: None
    with tempfile.TemporaryDirectory() as folder, ThreadPoolExecutor(arguments.threads) as pool:
        model = arguments.model
        if model is None:
            from tiny_models import save_tiny

            model = Path(folder)
            save_tiny(model, "llama", hidden_size=256, intermediate_size=512, head_dim=64)
        description = describe_model(model)
        if arguments.model is None:
            chunks = list(np.random.default_rng(0).integers(0, 128, (arguments.chunks, 48)))
        else:
            ids = np.asarray(Tokenizer.open(model).encode(arguments.text.read_text()))
            chunks = list(ids[: arguments.chunks * LENGTH].reshape(-1, LENGTH))
        base = Parameters(open_weights(model), description.config)
        print(f"{'float':<28}{perplexity(Reference(base, keep_weights=True).logits, chunks):30.3f}", flush=True)
        for kind in arguments.kinds:
            for group in arguments.groups:
                measure(base, kind, clipped if kind == "clipped" else checkpoint, group, chunks, pool)
                for name in arguments.techniques:
                    ids = np.asarray(Tokenizer.open(model).encode(arguments.calibration_text.read_text()))
                    texts = list(ids[: 8 * 2 * LENGTH].reshape(8, -1))
                    found = requantized(base, clipped if kind == "clipped" else checkpoint, group, name, texts, chunks)
                    print(f"{f'{kind}, {group}: {name}':<28}{found:36.3f}", flush=True)


def requantized(
    base: Parameters,
    make: Callable[[Tensor, int], tuple[Tensor, Tensor]],
    group: int,
    name: str,
    texts: list[np.ndarray],
    chunks: list[np.ndarray],
) -> float:
    """Perplexity of the checkpoint after one of our techniques, with blocks of its groups; activations stay float."""
    overlay = {}
    for weight in [each for each in base.names() if "_proj.weight" in each]:
        integers, scales = make(torch.from_numpy(np.array(base.read(weight))), group)
        overlay[weight] = (integers * scales.repeat_interleave(group, 0)).numpy()
    technique = load_technique(ROOT / "recipes" / "quantization" / f"{name}.yaml")
    technique = technique.model_copy(update={"block_size": group})
    stored = base.changed_by(overlay)
    result = quantize_model(stored, texts, technique, execution=Execution(threads=torch.get_num_threads()))
    linears = {weight: each for weight, each in result.encodings.params.items() if "_proj.weight" in weight}
    changed = base.changed_by(overlay | dict(result.overlay or {}))
    return perplexity(Simulated(changed, Encodings(params=linears), keep_weights=True).logits, chunks)


def measure(
    base: Parameters,
    title: str,
    make: Callable[[Tensor, int], tuple[Tensor, Tensor]],
    group: int,
    chunks: list[np.ndarray],
    pool: ThreadPoolExecutor,
) -> None:
    """One kind of checkpoint, in every way: error of the weights against it in dB, integers that stay, perplexity."""
    names = [name for name in base.names() if "_proj.weight" in name]
    if any(base.shape(name)[0] % group for name in names):
        print(f"{title}, groups of {group}: they do not divide every width")
        return
    overlays: dict[str, dict[str, np.ndarray]] = {}
    errors: dict[str, list[float]] = {}
    energies, same = [], dict.fromkeys(("again, rtn", "again, mse"), 0)
    count = 0
    for name in names:
        integers, scales = make(torch.from_numpy(np.array(base.read(name))), group)
        stored = integers * scales.repeat_interleave(group, 0)
        overlays.setdefault("checkpoint", {})[name] = stored.numpy()
        energies.append(float(stored.double().square().sum()))
        count += stored.numel()
        for way, values in ways(integers, scales, group, pool).items():
            overlays.setdefault(way, {})[name] = values.numpy()
            errors.setdefault(way, []).append(float((values - stored).double().square().sum()))
            if way in same:
                steps = (values / scales.repeat_interleave(group, 0)).round()
                same[way] += int((steps == integers).sum())
    for way, overlay in overlays.items():
        reference = Reference(base.changed_by(overlay), keep_weights=True)
        found = perplexity(reference.logits, chunks)
        db = "" if way == "checkpoint" else f"{10 * np.log10(sum(energies) / sum(errors[way])):.2f} dB"
        kept_share = f"{100 * same[way] / count:.1f} % same" if way in same else ""
        print(f"{title + f', {group}: ' + way:<28}{db:>12}{kept_share:>14}{found:>10.3f}", flush=True)


if __name__ == "__main__":
    main()
