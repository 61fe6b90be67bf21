"""Contents of bundles for a two-layer model: quantized parts, compiled parts, tokenizer."""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from tiny_parts import make_parts, measured_encodings
from tiny_recipe import write_model

from qairt.bundle.compose import compose
from qairt.bundle.contents import BinaryPart, Contents, Format, OnnxPart
from qairt.model.config import DecoderConfig
from qairt.model.describe import describe_model
from qairt.model.parameters import open_parameters
from qairt.model.tokenizer import Tokenizer
from qairt.runtime.parts import PartGraph
from qairt.toolchain.soc import SOCS

CL, PARTS = 32, 3
SOC = SOCS["SM8650"]


@dataclass(frozen=True)
class TinyModel:
    """A model with its quantized parts for AR 1 and 8."""

    folder: Path
    config: DecoderConfig
    parts: Mapping[int, Sequence[PartGraph]]
    """By AR, in order."""

    def onnx(self) -> Contents:
        """For the processor."""
        parts = [
            OnnxPart(part.onnx, self.folder / f"quantized_{part.signature.part}.bin", self._signature(part))
            for of_part in zip(*self.parts.values(), strict=True)
            for part in of_part
        ]
        return Contents(parts, None, self.folder / "model.json", self.folder / "tokenizer")

    def binaries(self, *, ars: Sequence[int], name: str, prefix: str = "weight_sharing_model") -> Contents:
        """For the NPU: one binary a part, of these ARs; compiled here, a second a graph.

        Args:
            name: of a new folder.
            prefix: what the binaries' names begin with.
        """
        import qnn_calls

        out = self.folder / name
        out.mkdir()
        parts = []
        for index in range(PARTS):
            chosen = [self.parts[ar][index] for ar in ars]
            linked = qnn_calls.link(
                [(part.onnx, part.signature.graph_name) for part in chosen],
                out,
                binary_name=f"{prefix}_{index + 1}_of_{PARTS}.serialized.bin",
                soc=SOC,
                optimization_level=1,
            )
            signatures = {part.signature.graph_name: self._signature(part) for part in chosen}
            parts.append(BinaryPart(linked.binary, linked.wrappers, signatures))
        return Contents(parts, SOC, self.folder / "model.json", self.folder / "tokenizer")

    def _signature(self, part: PartGraph) -> Path:
        path = part.onnx.with_suffix(".signature.json")
        part.signature.write(path)
        return path


def make_tiny(folder: Path, **model: Any) -> TinyModel:
    """A random model with a real tokenizer, quantized to 8-bit weights."""
    write_model(folder / "model", **model)
    config = describe_model(folder / "model").config
    (folder / "model.json").write_text(config.model_dump_json())
    Tokenizer.open(folder / "model").save(folder / "tokenizer")
    parameters = open_parameters(folder / "model", config)
    ids = np.random.default_rng(0).integers(3, 250, 48)
    parts = make_parts(
        folder, parameters, ars=(1, 8), cl=CL, num_splits=PARTS, encodings=measured_encodings(parameters, list(ids))
    )
    return TinyModel(folder, config, parts)


def composed(contents: Contents, folder: Path, form: Format | None) -> Path:
    """A bundle in a new folder, of copies."""
    folder.mkdir()
    compose(contents, folder, form, place=copy)
    return folder


def copy(source: Path, target: Path) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(source, target)


def edit(path: Path, *keys: str, value: Any) -> None:
    """Set a value deep in a JSON file; None removes it."""
    content = json.loads(path.read_bytes())
    place = content
    for key in keys[:-1]:
        place = place[key]
    if value is None:
        del place[keys[-1]]
    else:
        place[keys[-1]] = value
    path.write_text(json.dumps(content))
