"""What the quantization stage takes of memory on a model of Llama-3.2-1B's shape.

    python tests/bench/quantize_memory.py [--techniques a,b] [--layers 16] [--chunks 16]
    python tests/bench/quantize_memory.py --clean

Writes a random checkpoint (bfloat16, sharded, 2.5 GB) into `.bench`, once, and runs `qairt run --until quantization` on
it, one technique after another. The peak is that of the largest process the run had. It should stay below 1.2 GB and
four times a decoder layer's float32 weights, whatever the number of layers, and below 4 GB for this model.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

from quantize_random_model import arguments_or_clean, layer_bytes, write_random_model

ROOT = Path(__file__).parents[2]
RECIPES = ROOT / "recipes" / "quantization"
FIXED, LAYERS_HELD, WHOLE = 1_200_000_000, 4, 4_000_000_000


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    known = sorted(path.stem for path in RECIPES.glob("*.yaml"))
    parser.add_argument("--techniques", help=f"with commas between; all when left out: {', '.join(known)}")
    parser.add_argument("--layers", type=int, default=16)
    parser.add_argument("--chunks", type=int, default=16, help="of 512 tokens to calibrate on")
    folder = ROOT / ".bench" / "memory"
    given = arguments_or_clean(parser, folder)
    if given is None:
        return 0
    techniques = given.techniques.split(",") if given.techniques else known
    if unknown := [name for name in techniques if name not in known]:
        parser.error(f"no such technique: {', '.join(unknown)}; {RECIPES} has {', '.join(known)}")

    model = folder / f"llama-3.2-1b-random-{given.layers}-layers"
    write_random_model(model, given.layers, given.tokenizer)
    limit = FIXED + LAYERS_HELD * layer_bytes()
    print(f"{given.layers} layers of {layer_bytes() / 1e6:,.0f} MB float32, {given.chunks} x 512 tokens")
    rows = []
    for name in techniques:
        seconds, peak, code = quantize(model, name, given.chunks, folder)
        holds = not code and peak <= limit and peak <= WHOLE
        rows.append({"technique": name, "seconds": seconds, "peak_rss": peak, "exit_status": code, "holds": holds})
        words = f"FAILED with exit status {code}, see {log_of(folder, name)}" if code else verdict(peak, limit)
        print(f"{name:<20}{seconds:>9,.1f} s{peak / 1e6:>9,.0f} MB   {words}", flush=True)
    about = {"layers": given.layers, "chunks": given.chunks, "layer_bytes": layer_bytes(), "limit": limit}
    (folder / "quantize_memory.json").write_text(json.dumps({**about, "rows": rows}, indent=1) + "\n")
    return 0 if all(row["holds"] for row in rows) else 1


def quantize(model: Path, technique: str, chunks: int, folder: Path) -> tuple[float, int, int]:
    """Seconds, peak RSS in bytes of the largest process, and the exit status of a run into an empty cache."""
    recipe, cache = folder / f"{technique}.yaml", folder / f"cache-{technique}"
    shutil.rmtree(cache, ignore_errors=True)
    settings = {
        "model_id_or_path": str(model),
        "soc_details": "chipset:SM8650",
        "stages": {
            "model_loading": {},
            "quantization": {"recipe": f"{RECIPES / technique}.yaml", "calibration_chunks": chunks},
        },
    }
    recipe.write_text(json.dumps(settings, indent=1) + "\n")
    options: list[str | Path] = ["--no-tui", "--until", "quantization", "--cache-dir", cache]
    command = [sys.executable, "-m", "qairt", "run", recipe, *options]
    with log_of(folder, technique).open("wb") as log:
        begun = time.perf_counter()
        process = subprocess.Popen(command, stdout=log, stderr=subprocess.STDOUT, stdin=subprocess.DEVNULL)
        _, status, usage = os.wait4(process.pid, 0)
        seconds = time.perf_counter() - begun
        process.returncode = os.waitstatus_to_exitcode(status)
    # Of it and of every process it waited for, the largest.
    return seconds, 1024 * usage.ru_maxrss, process.returncode


def log_of(folder: Path, technique: str) -> Path:
    return folder / f"{technique}.log"


def verdict(peak: int, limit: int) -> str:
    bounds = ((limit, "1.2 GB + 4 x a layer"), (WHOLE, "4 GB"))
    return ", ".join(
        f"{peak / bound:.2f} of {name} ({bound / 1e6:,.0f} MB)" + ("" if peak <= bound else " DOES NOT HOLD")
        for bound, name in bounds
    )


if __name__ == "__main__":
    raise SystemExit(main())
