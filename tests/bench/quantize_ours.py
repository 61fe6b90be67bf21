"""One technique of ours, measured by itself: `python quantize_ours.py JOB.json RESULT.json`.

A job without a technique is the float model. Time and memory are those of everything the stage does, which is
more than a search for scales: ranges of every activation and the vectors for later checks are part of it.
"""

from __future__ import annotations

import json
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

started = time.perf_counter()

import numpy as np  # noqa: E402 - importing counts
import torch  # noqa: E402
from quantize_measure import machine, peak_rss, perplexity  # noqa: E402

from qairt.model.describe import describe_model  # noqa: E402
from qairt.model.parameters import open_parameters  # noqa: E402
from qairt.model.reference import Reference  # noqa: E402
from qairt.quant.apply_technique import apply_technique  # noqa: E402
from qairt.quant.encodings import Encodings  # noqa: E402
from qairt.quant.execution import Execution  # noqa: E402
from qairt.quant.rotation_choice import chosen_rotation  # noqa: E402
from qairt.quant.simulate import Simulated  # noqa: E402
from qairt.stages.technique_file import load_technique  # noqa: E402


def main(job: dict[str, Any]) -> dict[str, Any]:
    torch.set_num_threads(job["threads"])
    chunks = list(np.load(job["evaluation"]))
    if job["technique"] is None:
        model = describe_model(job["model"])
        reference = Reference(open_parameters(model.source, model.config), keep_weights=True)
        return {"perplexity": perplexity(reference.logits, chunks), **machine()}
    # Changed weights go to disk, as in the stage.
    with tempfile.TemporaryDirectory(dir=Path(job["calibration"]).parent) as folder:
        simulated, measured = quantized(job, Path(folder))
        return {**measured, "perplexity": perplexity(simulated.logits, chunks), **machine()}


def quantized(job: dict[str, Any], folder: Path) -> tuple[Simulated, dict[str, Any]]:
    """The model with its weights quantized, its activations too in a job with `whole`, and what it took."""
    model, technique = describe_model(job["model"]), load_technique(Path(job["technique"]))
    technique = technique.model_copy(update={"seed": job["seed"]})
    rotation, _ = chosen_rotation(technique, open_parameters(model.source, model.config))
    calibration, other_text = list(np.load(job["calibration"])), list(np.load(job["other_text"]))
    begun, begun_cpu = time.perf_counter(), time.process_time()
    parameters = open_parameters(model.source, model.config, rotation=rotation)
    result = apply_technique(
        parameters,
        calibration,
        lambda wanted: other_text[:wanted],
        technique,
        lambda result: 0.0,
        execution=Execution(folder, job["threads"], job["device"]),
    )
    measured: dict[str, Any] = {
        "seconds": time.perf_counter() - begun,
        "cpu_seconds": time.process_time() - begun_cpu,
        "seconds_of_all": time.perf_counter() - started,
        "peak_rss": peak_rss(),
        "notes": list(result.notes),
    }
    print(f"{measured['seconds']:.1f} s, peak {measured['peak_rss'] / 1e6:,.0f} MB", flush=True)
    changed = open_parameters(model.source, model.config, result.overlay, rotation)
    encodings = result.encodings if job["whole"] else Encodings(params=result.encodings.params)
    return Simulated(changed, encodings, keep_weights=True), measured


if __name__ == "__main__":
    measured = main(json.loads(Path(sys.argv[1]).read_text()))
    Path(sys.argv[2]).write_text(json.dumps(measured, indent=1) + "\n")
