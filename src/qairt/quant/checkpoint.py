"""Finished blocks of a quantization on disk, so that a killed run resumes at the block it was in.

    step.json                the work's identity, how many blocks are done, and the digest of every file
    layer-{n}.safetensors    results of block n
    layer-{n}.encodings      encodings of its weights
    state-{n}.safetensors    the state that block n + 1 starts from
    weights/                 changed weights, see `qairt.quant.changed_weights`

step.json is replaced last, atomically. If a file does not match it, or it belongs to other work, nothing is used.
"""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from qairt.errors import QuantizationError
from qairt.files import open_regular, read_json, read_text, write_atomic
from qairt.quant.changed_weights import keep_changed
from qairt.quant.encodings import Encoding, Encodings
from qairt.quant.encodings_json import read_encodings, write_encodings

STEP = "step.json"


@dataclass
class Done:
    """The finished blocks."""

    layers: int = 0
    """Number of blocks, from the first."""
    params: dict[str, Encoding] = field(default_factory=dict)
    """Encodings of their weights."""
    tensors: dict[str, Tensor] = field(default_factory=dict)
    """Their results."""
    state: dict[str, Tensor] = field(default_factory=dict)
    """What the next block starts from."""
    errors: dict[str, float] = field(default_factory=dict)
    """By linear, the share of its output's energy that was lost."""
    notes: list[str] = field(default_factory=list)


VERSION = 2
"""Raised when work that an earlier version of qairt began must start over."""


class Checkpoint:
    """A folder, created when needed, that nothing else writes to.

    Args:
        work: digest of what is being done; files of other work are not used.
    """

    def __init__(self, folder: Path, work: str) -> None:
        self.weights = folder / "weights"
        """Changed weights, see `qairt.quant.changed_weights`."""
        self._folder = folder
        self._work = f"{VERSION} {work}"
        self._layers = 0
        self._files: dict[str, str] = {}

    def load(self) -> Done:
        """What the folder holds; if that cannot be used, the folder is emptied."""
        try:
            done = self._load()
        except (OSError, ValueError, LookupError, TypeError, SafetensorError, QuantizationError):
            shutil.rmtree(self._folder, ignore_errors=True)
            self._layers, self._files, done = 0, {}, Done()
        self.weights.mkdir(parents=True, exist_ok=True)
        return done

    def keep_weight(self, name: str, values: NDArray[np.float32], encoding: Encoding) -> None:
        """Keep a changed weight of the current block."""
        self._record(keep_changed(self.weights, name, values, encoding))

    def save(
        self,
        params: Mapping[str, Encoding],
        tensors: Mapping[str, Tensor],
        state: Mapping[str, Tensor],
        *,
        errors: Mapping[str, float],
        notes: Sequence[str],
    ) -> None:
        """Record one more finished block; arguments as the fields of `Done`."""
        layer = self._layers
        encodings = self._folder / f"layer-{layer}.encodings"
        encodings.write_text(write_encodings(Encodings(params=dict(params))), encoding="utf-8")
        self._record(encodings)
        for name, held in ((f"layer-{layer}", tensors), (f"state-{layer}", state)):
            path = self._folder / f"{name}.safetensors"
            save_file({key: value.contiguous() for key, value in held.items()}, path)
            self._record(path)
        before = self._folder / f"state-{layer - 1}.safetensors"
        self._files.pop(before.name, None)
        self._layers += 1
        facts = {"errors": dict(errors), "notes": list(notes)}
        step = {"work": self._work, "layers": self._layers, "files": self._files, "facts": facts}
        write_atomic(self._folder / STEP, json.dumps(step))
        before.unlink(missing_ok=True)

    def _load(self) -> Done:
        step = read_json(self._folder / STEP)
        if step["work"] != self._work:
            raise ValueError("it belongs to other work")
        for name, digest in step["files"].items():
            if _digest(self._folder / name) != digest:
                raise ValueError(f"{name} has changed")
        done = Done(layers=step["layers"], errors=step["facts"]["errors"], notes=step["facts"]["notes"])
        for layer in range(done.layers):
            done.tensors |= load_file(self._folder / f"layer-{layer}.safetensors")
            text = read_text(self._folder / f"layer-{layer}.encodings")
            done.params |= read_encodings(text).params
        done.state = load_file(self._folder / f"state-{done.layers - 1}.safetensors")
        self._layers, self._files = done.layers, step["files"]
        return done

    def _record(self, path: Path) -> None:
        self._files[str(path.relative_to(self._folder))] = _digest(path)


def _digest(path: Path) -> str:
    with open_regular(path) as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
