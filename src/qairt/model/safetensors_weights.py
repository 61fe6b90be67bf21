"""Weights in a Hugging Face model directory."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from qairt.errors import ModelError
from qairt.model.expert_stacks import stack_experts
from qairt.model.families import FAMILIES
from qairt.model.layout import CONV_PROJECTIONS, DENSE, EMBEDDING, FINAL_NORM, LM_HEAD
from qairt.model.multimodal import is_wrapper, text_weight
from qairt.model.quantized.find import unpack_quantized
from qairt.model.quantized.stated import read_stated
from qairt.model.safetensors_file import read_safetensors_header
from qairt.model.sentence_transformers import dense_weights
from qairt.model.stored_tensor import FileTensor, StoredTensor, Tap, TensorRows
from qairt.model.weight_files import weight_files
from qairt.model.weights import ALL, missing_weight

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from qairt.model.storage import Storage

_BASE = "model."
_OF_BASE = ("embed_tokens.", "layers.", "norm.", "embedding_norm.")
_WHOLE = {"model.embedding_norm.weight": FINAL_NORM}
"""LFM2's name of the last norm."""
_RENAMED = {stored: ours for family in FAMILIES.values() for stored, ours in family.renamed.items()}
"""Module of a layer, as some family stores it -> ours. No two families mean different modules by one name."""


class SafetensorsWeights:
    """The stored tensors under the names of the whole model, as transformers names them while it loads:

    1. a checkpoint of the model without its head (Qwen3-Embedding) has no `model.` before its names;
    2. a quantized weight is one tensor, whatever it is packed into: see `qairt.model.quantized`;
    3. of a tied pair either may be stored;
    4. joined projections, and the taps of a convolution, get their separate names;
    5. the experts of a layer are one tensor for each linear: see `qairt.model.expert_stacks`;
    6. modules that a family names in its own way have the names of `qairt.model.layout`, and so have the linears behind
       the pooling of an embedding model.
    """

    def __init__(self, directory: Path) -> None:
        """
        Raises:
            ModelError: no weights, a damaged file, or weights quantized in a way that cannot be read.
        """
        self.directory = directory
        self._files = weight_files(directory)
        self._is_wrapper = is_wrapper(directory)
        in_files: dict[str, FileTensor] = {}
        for file in self._files:
            if file.suffix == ".safetensors":
                self._add(file, in_files)
        for index, file in enumerate(dense_weights(directory)):
            module = DENSE.format(index)
            for stored, tensor in read_safetensors_header(file).items():
                name = stored.replace("linear.", f"{module}.", 1)
                in_files[name] = FileTensor(file, name, tensor)
            self._files.append(file)
        unpacked, self._storage = unpack_quantized(in_files, read_stated(directory), directory)
        self._tensors = stack_experts(unpacked, directory)
        if EMBEDDING not in self._tensors and LM_HEAD in self._tensors:
            self._tensors[EMBEDDING] = self._tensors.pop(LM_HEAD)
        self._split_projections()
        self._split_convolutions()

    def names(self) -> list[str]:
        return list(self._tensors)

    def shape(self, name: str) -> tuple[int, ...]:
        return self._find(name).shape

    def storage(self) -> Storage | None:
        """How the quantized weights are stored; None if all are plain floats."""
        return self._storage

    def read(self, name: str, rows: slice = ALL) -> NDArray[np.float32]:
        return self._find(name).read(rows)

    def files(self) -> list[Path]:
        return list(self._files)

    def stored_bytes(self) -> int:
        return sum(tensor.nbytes for tensor in self._tensors.values())

    def _add(self, file: Path, found: dict[str, FileTensor]) -> None:
        for whole_name, tensor in read_safetensors_header(file).items():
            stored = text_weight(whole_name) if self._is_wrapper else whole_name
            if stored is None:
                continue
            name = _renamed(_BASE + stored if stored.startswith(_OF_BASE) else stored)
            if name in found:
                raise ModelError(
                    f"{stored} is stored in {found[name].file.name} and in {file.name}",
                    where=str(self.directory),
                    remedy="keep the files of one model only, with their model.safetensors.index.json",
                )
            found[name] = FileTensor(file, name, tensor)

    def _split_projections(self) -> None:
        """Their rows are consecutive in the file."""
        for name in [name for name in self._tensors if name.endswith(("qkv_proj.weight", "gate_up_proj.weight"))]:
            joined = self._tensors[name]
            if len(joined.shape) != 2 or 0 in joined.shape:
                continue
            del self._tensors[name]
            module, _, projection = name.removesuffix(".weight").rpartition(".")
            rows = joined.shape[0]
            if projection == "gate_up_proj":
                parts = {"gate_proj": rows // 2, "up_proj": rows // 2}
            else:
                queries = self._find(f"{module}.o_proj.weight").shape[-1]
                parts = {"q_proj": queries, "k_proj": (rows - queries) // 2, "v_proj": (rows - queries) // 2}
            start = 0
            for part, count in parts.items():
                self._tensors[f"{module}.{part}.weight"] = TensorRows(joined, start, count)
                start += count

    def _split_convolutions(self) -> None:
        """Their three projections, whose rows are consecutive, and their taps, which are stored oldest token first."""
        for name in [name for name in self._tensors if name.endswith((".conv.in_proj.weight", ".conv.conv.weight"))]:
            joined, module = self._tensors[name], name.removesuffix(".weight").rpartition(".")[0]
            parts: dict[str, StoredTensor]
            if name.endswith(".in_proj.weight") and len(joined.shape) == 2 and joined.shape[0] % 3 == 0:
                rows = joined.shape[0] // 3
                parts = {part: TensorRows(joined, k * rows, rows) for k, part in enumerate(CONV_PROJECTIONS)}
            elif name.endswith(".conv.weight") and len(joined.shape) == 3 and joined.shape[1] == 1:
                length = joined.shape[2]
                parts = {f"tap_{distance}": Tap(joined, length - 1 - distance) for distance in range(length)}
            else:
                continue
            del self._tensors[name]
            self._tensors |= {f"{module}.{part}.weight": tensor for part, tensor in parts.items()}

    def _find(self, name: str) -> StoredTensor:
        if name not in self._tensors:
            raise missing_weight(name, self.directory)
        return self._tensors[name]


def _renamed(name: str) -> str:
    parts = name.split(".", 3)
    if len(parts) < 4:
        return _WHOLE.get(name, name)
    for stored, ours in _RENAMED.items():
        if parts[3].startswith(f"{stored}."):
            return ".".join((*parts[:3], ours + parts[3].removeprefix(stored)))
    return name
