"""What quantization has done so far, on disk: a killed run goes on at the block it was in.

    step.json                which blocks are done, of which work, and the digest of every file that counts
    layer-{n}.safetensors    what is wanted of block n in the end
    layer-{n}.encodings      encodings of its weights
    state-{n}.safetensors    what block n + 1 starts from
    weights/{name}.npy       weights that were changed

step.json is replaced last, at once. Where a file does not agree with it, or it is of other work, nothing is used.
"""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from qairt.errors import QuantizationError
from qairt.files import write_atomic
from qairt.quant.encodings import Encoding, Encodings
from qairt.quant.encodings_json import read_encodings, write_encodings

STEP = "step.json"


@dataclass
class Done:
    """What was done so far."""

    layers: int = 0
    """Blocks, from the first."""
    params: dict[str, Encoding] = field(default_factory=dict)
    """Encodings of their weights."""
    tensors: dict[str, Tensor] = field(default_factory=dict)
    """What is wanted of them in the end."""
    state: dict[str, Tensor] = field(default_factory=dict)
    facts: dict[str, Any] = field(default_factory=dict)
    """What the next block starts from; empty when nothing was done."""


class Checkpoint:
    """A folder of its own, which may not exist yet.

    Args:
        work: what is being done, as a digest: what other work left is not used.
    """

    def __init__(self, folder: Path, work: str) -> None:
        self.weights = folder / "weights"
        """Changed weights, `{name}.npy`, in the layout of `qairt.model.parameters`."""
        self._folder = folder
        self._work = work
        self._layers = 0
        self._files: dict[str, str] = {}

    def load(self) -> Done:
        """What is there. Nothing, and the folder is removed, where it cannot be used."""
        try:
            done = self._load()
        except (OSError, ValueError, LookupError, TypeError, SafetensorError, QuantizationError):
            shutil.rmtree(self._folder, ignore_errors=True)
            self._layers, self._files, done = 0, {}, Done()
        self.weights.mkdir(parents=True, exist_ok=True)
        return done

    def keep_weight(self, name: str, values: NDArray[np.float32]) -> None:
        """Keep a changed weight of the block in work."""
        path = self.weights / f"{name}.npy"
        np.save(path, values)
        self._note(path)

    def save(
        self,
        params: Mapping[str, Encoding],
        tensors: Mapping[str, Tensor],
        state: Mapping[str, Tensor],
        facts: Mapping[str, Any],
    ) -> None:
        """One more block is done; see `Done`."""
        layer = self._layers
        encodings = self._folder / f"layer-{layer}.encodings"
        encodings.write_text(write_encodings(Encodings(params=dict(params))))
        self._note(encodings)
        for name, held in ((f"layer-{layer}", tensors), (f"state-{layer}", state)):
            path = self._folder / f"{name}.safetensors"
            save_file({key: value.contiguous() for key, value in held.items()}, path)
            self._note(path)
        before = self._folder / f"state-{layer - 1}.safetensors"
        self._files.pop(before.name, None)
        self._layers += 1
        step = {"work": self._work, "layers": self._layers, "files": self._files, "facts": dict(facts)}
        write_atomic(self._folder / STEP, json.dumps(step))
        before.unlink(missing_ok=True)

    def _load(self) -> Done:
        step = json.loads((self._folder / STEP).read_bytes())
        if step["work"] != self._work:
            raise ValueError("of another work")
        for name, digest in step["files"].items():
            if _digest(self._folder / name) != digest:
                raise ValueError(f"{name} was changed")
        done = Done(layers=step["layers"], facts=step["facts"])
        for layer in range(done.layers):
            done.tensors |= load_file(self._folder / f"layer-{layer}.safetensors")
            text = (self._folder / f"layer-{layer}.encodings").read_text()
            done.params |= read_encodings(text).params
        done.state = load_file(self._folder / f"state-{done.layers - 1}.safetensors")
        self._layers, self._files = done.layers, step["files"]
        return done

    def _note(self, path: Path) -> None:
        self._files[str(path.relative_to(self._folder))] = _digest(path)


def _digest(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
