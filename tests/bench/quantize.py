"""Our quantization techniques against AIMET's SeqMSE: time, memory, perplexity.

    python tests/bench/quantize.py [--only aimet|ours] [--techniques a,b] [--calibration 4,16]
        [--chunks 12 | --all] [--whole] [--seeds 3] [--again]

The same float weights, calibration tokens and tokens to predict for all, each in a process of its own with all cores.
Perplexity is of chunks of 512 tokens without BOS, tokens 2 to 512 of each predicted, with the weights quantized and
the activations float; with `--whole` ours have activations of 16 bits, and keys and values of 8. With several seeds,
the mean of each technique and its spread are printed. Where torch can use a GPU, ours are measured there too. AIMET
(about 20 minutes on two cores that do nothing else) is installed into `.bench/aimet`; its time is that of
`apply_seq_mse` alone, ours that of the whole stage. Measurements are kept in `.bench` by model, tokens, versions and,
for ours, the source code, and shown again until one of these changes.
"""

from __future__ import annotations

import argparse
import os
from pathlib import Path

import torch
from quantize_inputs import make_inputs
from quantize_report import as_table, as_text, curve, gains_of_gpu, spreads, write
from quantize_runs import Runs

ROOT = Path(__file__).parents[2]
RECIPES = ROOT / "recipes" / "quantization"
TEXTS = ROOT / "src" / "qairt" / "data"
BOTH, DEFAULT_CALIBRATION = 4, 16
"""Calibration chunks: of the comparison with AIMET, and what our stage takes when a recipe says nothing."""


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    known = sorted(path.stem for path in RECIPES.glob("*.yaml"))
    parser.add_argument("--only", choices=("aimet", "ours"), help="one side; AIMET's is shown when it is kept")
    parser.add_argument("--techniques", help=f"with commas between; all when left out: {', '.join(known)}")
    parser.add_argument("--chunks", type=int, default=12, help="of 512 tokens to predict, spread over the text")
    parser.add_argument("--all", action="store_true", help="predict the whole text")
    parser.add_argument("--whole", action="store_true", help="activations of ours quantized too")
    parser.add_argument("--calibration", default=f"{BOTH},{DEFAULT_CALIBRATION}", help="chunks for ours; 4,16")
    parser.add_argument("--seeds", type=int, default=1, help="how many, from 0 on, ours are measured with")
    parser.add_argument("--again", action="store_true", help="measure what is kept, too")
    parser.add_argument("--model", type=Path, default=ROOT / ".demo" / "SmolLM2-135M-Instruct.Q4_1.gguf")
    parser.add_argument("--text", type=Path, default=TEXTS / "dev.txt", help="to predict")
    parser.add_argument("--calibration-text", type=Path, default=TEXTS / "calib.txt")
    given = parser.parse_args()
    techniques = given.techniques.split(",") if given.techniques else known
    if unknown := [name for name in techniques if name not in known]:
        parser.error(f"no such technique: {', '.join(unknown)}; {RECIPES} has {', '.join(known)}")
    for path in (given.model, given.text, given.calibration_text):
        if not path.exists():
            parser.error(f"{path} does not exist" + ("; `make demo` fetches it" if path == given.model else ""))

    folder = ROOT / ".bench"
    inputs = make_inputs(folder, given.model, given.calibration_text, given.text, None if given.all else given.chunks)
    cores = len(os.sched_getaffinity(0))
    load, text = os.getloadavg()[0], f"{inputs.chunks} x 512 tokens of {given.text.name}"
    print(f"{cores} cores, load average {load:.1f}; {text} to predict")
    runs = Runs(inputs, folder, ROOT, threads=cores, again=given.again, whole=given.whole)
    rows = [runs.float_model()]
    if given.only != "ours" or runs.has_aimet(BOTH):
        rows.append(runs.aimet(BOTH))
    if given.only != "aimet":
        calibrations = [int(chunks) for chunks in given.calibration.split(",")]
        devices = ["cpu", *(["cuda"] if torch.cuda.is_available() else [])]
        rows += [
            runs.ours(name, chunks, seed, device)
            for chunks in calibrations
            for name in techniques
            for device in devices
            for seed in range(given.seeds)
        ]
    measured = [row for row in rows if row is not None]
    print(f"\n{as_text(as_table(measured))}")
    if any(row.load > 1.5 * cores for row in measured):
        print("\nSome were measured on a busy machine (load): their seconds, and speeds from them, say little.")
        print("Compare CPU seconds, or measure on an idle machine with --again.")
    for line in (*spreads(measured), *gains_of_gpu(measured)):
        print(line)
    if drawn := curve(measured):
        print(f"\n{drawn}")
    about = {
        "model": given.model.name,
        "model_digest": inputs.model_digest,
        "text": f"{text} ({inputs.evaluation_digest})",
        "cores": cores,
    }
    write(measured, about, folder / "quantize.json", folder / "quantize.md")
    print(f"\nIn {folder / 'quantize.json'} and quantize.md.")
    return 0 if len(measured) == len(rows) else 1


if __name__ == "__main__":
    raise SystemExit(main())
