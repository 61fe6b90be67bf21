"""Measurements, each in a process of its own, kept by what they depend on."""

from __future__ import annotations

import hashlib
import json
import shutil
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout
from quantize_aimet_venv import VERSIONS, aimet_python
from quantize_inputs import LENGTH, Inputs, digest_of
from quantize_report import AIMET, FLOAT, Row

HERE = Path(__file__).parent
CANDIDATES = 20
OUR_CODE = ("src/qairt/quant", "src/qairt/model")
"""What our techniques' results depend on."""


class Runs:
    """The measurements of one model and text."""

    def __init__(self, inputs: Inputs, folder: Path, root: Path, *, threads: int, again: bool, whole: bool) -> None:
        """
        Args:
            folder: the benchmark's own.
            root: the repository's.
            again: measure what is kept, too.
            whole: ours with their activations quantized.
        """
        self._inputs = inputs
        self._folder = folder
        self._root = root
        self._threads = threads
        self._again = again
        self._whole = whole

    def float_model(self) -> Row | None:
        settings = {"evaluation": self._inputs.evaluation_digest, "code": self._our_code()}
        job = {"model": str(self._inputs.model), "technique": None, "evaluation": str(self._inputs.evaluation)}
        place = self._place("float-model", settings)
        return self._row(FLOAT, "", place, self._measure(FLOAT, place, "quantize_ours.py", job))

    def ours(self, technique: str, chunks: int, seed: int = 0, device: str = "cpu") -> Row | None:
        """One of `recipes/quantization` with so many chunks to calibrate on."""
        path, digest = self._inputs.calibration(chunks)
        other, other_digest = self._inputs.other_text(chunks)
        recipe = self._root / "recipes" / "quantization" / f"{technique}.yaml"
        settings = {
            "calibration": digest,
            "other_text": other_digest,
            "evaluation": self._inputs.evaluation_digest,
            "code": self._our_code(),
            "recipe": recipe.read_text(),
            "whole": self._whole,
            "seed": seed,
            "device": device,
        }
        job = {
            "model": str(self._inputs.model),
            "technique": str(recipe),
            "calibration": str(path),
            "other_text": str(other),
            "evaluation": str(self._inputs.evaluation),
            "whole": self._whole,
            "seed": seed,
            "device": device,
        }
        calibration = f"{chunks} x {LENGTH}" + (f", seed {seed}" if seed else "") + (", GPU" if device != "cpu" else "")
        place = self._place(f"{technique}-{chunks}x{LENGTH}", settings)
        found = self._measure(f"{technique}, {calibration}", place, "quantize_ours.py", job)
        return self._row(technique, calibration, place, found, seed, device)

    def aimet(self, chunks: int) -> Row | None:
        """AIMET's SeqMSE; its quantized weights stay, so another text to predict costs only that."""
        path, place = self._inputs.calibration(chunks)[0], self._aimet_place(chunks)
        weights = place / "weights"
        python = aimet_python(self._folder / "aimet", self._root / "constraints.txt")
        job = {
            "checkpoint": str(self._inputs.checkpoint),
            "calibration": str(path),
            "output": str(weights),
            "candidates": CANDIDATES,
        }
        calibration = f"{chunks} x {LENGTH}"
        quantized = self._measure(f"{AIMET}, {calibration}", place, "quantize_aimet_seqmse.py", job, python)
        if quantized is None:
            return None
        predicted = self._transformers_perplexity(python, place, weights)
        by_transformers = self._transformers_perplexity(
            python, self._inputs.folder / "float-model-transformers", self._inputs.checkpoint
        )
        if predicted is None or by_transformers is None:
            return None
        print(f"  the float model by transformers: perplexity {by_transformers['perplexity']:.4f}", flush=True)
        return self._row(AIMET, calibration, place, {**predicted, **quantized})

    def has_aimet(self, chunks: int) -> bool:
        """Its search was measured earlier, and is not to be measured again."""
        return not self._again and (self._aimet_place(chunks) / "result.json").is_file()

    def _aimet_place(self, chunks: int) -> Path:
        digest = self._inputs.calibration(chunks)[1]
        settings = {"candidates": CANDIDATES, "calibration": digest, "versions": list(VERSIONS)}
        return self._place(f"aimet_seqmse-{chunks}x{LENGTH}", settings)

    def _transformers_perplexity(self, python: Path, place: Path, checkpoint: Path) -> dict[str, Any] | None:
        job = {"checkpoint": str(checkpoint), "evaluation": str(self._inputs.evaluation)}
        below = place / f"predicted-{self._inputs.evaluation_digest}"
        return self._measure("  perplexity by transformers", below, "quantize_hf_perplexity.py", job, python)

    def _place(self, name: str, settings: Mapping[str, Any]) -> Path:
        return self._inputs.folder / f"{name}-{digest_of(settings)}"

    def _measure(
        self, what: str, place: Path, script: str, job: Mapping[str, Any], python: Path | None = None
    ) -> dict[str, Any] | None:
        """What the script found, now or earlier; None when it failed. Waits where another process measures the same."""
        with _alone(place, what):
            result = place / "result.json"
            if result.is_file() and not self._again:
                print(f"{what}: kept, measured {_when(result)} with the same model, tokens and versions", flush=True)
                return {**json.loads(result.read_text()), "kept": True}
            return self._measured(what, place, script, job, python)

    def _measured(
        self, what: str, place: Path, script: str, job: Mapping[str, Any], python: Path | None
    ) -> dict[str, Any] | None:
        shutil.rmtree(place, ignore_errors=True)
        place.mkdir(parents=True)
        partial, log = place / "result.partial.json", place / "log.txt"
        (place / "job.json").write_text(json.dumps({**job, "threads": self._threads}, indent=1) + "\n")
        print(f"{what}: measuring (log: {log})", flush=True)
        with log.open("wb") as output:
            command = [python or sys.executable, HERE / script, place / "job.json", partial]
            code = subprocess.run(command, stdout=output, stderr=subprocess.STDOUT, stdin=subprocess.DEVNULL).returncode
        if code or not partial.is_file():
            tail = "\n".join(log.read_text(errors="replace").splitlines()[-6:])
            print(f"{what}: FAILED with exit status {code}\n{tail}", flush=True)
            return None
        partial.replace(place / "result.json")
        return {**json.loads((place / "result.json").read_text()), "kept": False}

    def _row(
        self,
        technique: str,
        calibration: str,
        place: Path,
        found: dict[str, Any] | None,
        seed: int = 0,
        device: str = "cpu",
    ) -> Row | None:
        if found is None:
            return None
        seconds, peak = found.get("seconds"), found.get("peak_rss")
        cost = "" if seconds is None or peak is None else f"{seconds:,.1f} s, {peak / 1e6:,.0f} MB, "
        print(f"  {cost}perplexity {found['perplexity']:.2f} (load {found['load']})", flush=True)
        return Row(
            technique=technique,
            calibration=calibration,
            seconds=seconds,
            seconds_of_all=found.get("seconds_of_all"),
            cpu_seconds=found.get("cpu_seconds"),
            peak_rss=peak,
            perplexity=found["perplexity"],
            load=found["load"],
            measured=_when(place / "result.json"),
            kept=found["kept"],
            seed=seed,
            device=device,
        )

    def _our_code(self) -> str:
        joined = hashlib.sha256()
        for folder in OUR_CODE:
            for file in sorted((self._root / folder).rglob("*.py")):
                joined.update(file.read_bytes())
        return joined.hexdigest()


@contextmanager
def _alone(place: Path, what: str) -> Iterator[None]:
    """Nobody else measures into `place`."""
    place.parent.mkdir(parents=True, exist_ok=True)
    lock = FileLock(place.with_name(f"{place.name}.lock"))
    try:
        lock.acquire(timeout=0)
    except Timeout:
        print(f"{what}: another process measures it; waiting", flush=True)
        lock.acquire()
    try:
        yield
    finally:
        lock.release()


def _when(file: Path) -> str:
    return datetime.fromtimestamp(file.stat().st_mtime).strftime("%Y-%m-%d %H:%M")
