"""Weights in a Hugging Face model directory."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from qairt.errors import ModelError
from qairt.model.layout import EMBEDDING, LM_HEAD
from qairt.model.safetensors_file import SafetensorsTensor, read_safetensors_header, read_safetensors_tensor
from qairt.model.weight_files import weight_files
from qairt.model.weights import ALL, missing_weight

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

_BASE = "model."
_OF_BASE = ("embed_tokens.", "layers.", "norm.")


class SafetensorsWeights:
    """The stored tensors under the names of the whole model, as transformers names them while it loads:

    1. a checkpoint of the model without its head (Qwen3-Embedding) has no `model.` before its names;
    2. of a tied pair either may be stored;
    3. Phi-3's joined projections get their separate names.
    """

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self._tensors: dict[str, tuple[Path, SafetensorsTensor]] = {}
        self._files = weight_files(directory)
        for file in self._files:
            if file.suffix == ".safetensors":
                self._add(file)
        if EMBEDDING not in self._tensors and LM_HEAD in self._tensors:
            self._tensors[EMBEDDING] = self._tensors.pop(LM_HEAD)
        self._split_projections()

    def names(self) -> list[str]:
        return list(self._tensors)

    def shape(self, name: str) -> tuple[int, ...]:
        return self._find(name)[1].shape

    def stored_types(self) -> dict[str, str]:
        """Name -> type, as the header writes it (`BF16`)."""
        return {name: tensor.dtype for name, (_, tensor) in self._tensors.items()}

    def read(self, name: str, rows: slice = ALL) -> NDArray[np.float32]:
        file, tensor = self._find(name)
        return read_safetensors_tensor(file, name, tensor, rows)

    def files(self) -> list[Path]:
        return list(self._files)

    def stored_bytes(self) -> int:
        return sum(tensor.nbytes for _, tensor in self._tensors.values())

    def _add(self, file: Path) -> None:
        for stored, tensor in read_safetensors_header(file).items():
            name = _BASE + stored if stored.startswith(_OF_BASE) else stored
            if name in self._tensors:
                raise ModelError(
                    f"{stored} is stored in {self._tensors[name][0].name} and in {file.name}",
                    where=str(self.directory),
                    remedy="keep the files of one model only, with their model.safetensors.index.json",
                )
            self._tensors[name] = file, tensor

    def _split_projections(self) -> None:
        """Their rows are consecutive in the file."""
        for name in [name for name in self._tensors if name.endswith(("qkv_proj.weight", "gate_up_proj.weight"))]:
            file, joined = self._tensors[name]
            if len(joined.shape) != 2 or 0 in joined.shape:
                continue
            del self._tensors[name]
            module, _, projection = name.removesuffix(".weight").rpartition(".")
            rows = joined.shape[0]
            if projection == "gate_up_proj":
                parts = {"gate_proj": rows // 2, "up_proj": rows // 2}
            else:
                queries = self._find(f"{module}.o_proj.weight")[1].shape[-1]
                parts = {"q_proj": queries, "k_proj": (rows - queries) // 2, "v_proj": (rows - queries) // 2}
            start = 0
            for part, count in parts.items():
                self._tensors[f"{module}.{part}.weight"] = file, joined.rows(start, count)
                start += count

    def _find(self, name: str) -> tuple[Path, SafetensorsTensor]:
        if name not in self._tensors:
            raise missing_weight(name, self.directory)
        return self._tensors[name]
