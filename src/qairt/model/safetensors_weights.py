"""Weights in a Hugging Face model directory."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from qairt.errors import ModelError
from qairt.files import read_json
from qairt.model.safetensors_file import SafetensorsTensor, read_safetensors_header, read_safetensors_tensor
from qairt.model.weights import ALL, missing_weight

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

_INDEX = "model.safetensors.index.json"


class SafetensorsWeights:
    """`model.safetensors`, or the shards that `model.safetensors.index.json` names."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self._tensors: dict[str, tuple[Path, SafetensorsTensor]] = {}
        self._files = weight_files(directory)
        for file in self._files:
            if file.suffix == ".safetensors":
                self._tensors |= {name: (file, tensor) for name, tensor in read_safetensors_header(file).items()}
        self._split_projections()

    def names(self) -> list[str]:
        return list(self._tensors)

    def shape(self, name: str) -> tuple[int, ...]:
        return self._find(name)[1].shape

    def read(self, name: str, rows: slice = ALL) -> NDArray[np.float32]:
        file, tensor = self._find(name)
        return read_safetensors_tensor(file, name, tensor, rows)

    def files(self) -> list[Path]:
        return list(self._files)

    def stored_bytes(self) -> int:
        return sum(tensor.nbytes for _, tensor in self._tensors.values())

    def _split_projections(self) -> None:
        """Give the projections stored as one matrix (Phi-3, Phi-4) their separate names: their rows are consecutive in
        the file."""
        for name in [name for name in self._tensors if name.endswith(("qkv_proj.weight", "gate_up_proj.weight"))]:
            file, joined = self._tensors.pop(name)
            module, _, projection = name.removesuffix(".weight").rpartition(".")
            rows = joined.shape[0]
            if projection == "gate_up_proj":
                parts = {"gate_proj": rows // 2, "up_proj": rows // 2}
            else:
                queries = self._find(f"{module}.o_proj.weight")[1].shape[1]
                parts = {"q_proj": queries, "k_proj": (rows - queries) // 2, "v_proj": (rows - queries) // 2}
            start = 0
            for part, count in parts.items():
                self._tensors[f"{module}.{part}.weight"] = file, joined.rows(start, count)
                start += count

    def _find(self, name: str) -> tuple[Path, SafetensorsTensor]:
        if name not in self._tensors:
            raise missing_weight(name, self.directory)
        return self._tensors[name]


def weight_files(directory: Path) -> list[Path]:
    """The shard index, if there is one, and the .safetensors files.

    Raises:
        ModelError: there are none, or the index names one that is missing.
    """
    index = directory / _INDEX
    if index.is_file():
        try:
            shards = sorted(set(read_json(index)["weight_map"].values()))
            if any(not shard or Path(shard).name != shard for shard in shards):
                raise ValueError("a shard is not beside its index")
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise ModelError(
                "not a shard index: it has no valid weight_map",
                where=str(index),
                remedy="download or copy it again",
            ) from error
        for shard in shards:
            if not (directory / shard).is_file():
                raise ModelError(
                    f"the shard {shard} is missing ({len(shards)} shards are listed)",
                    where=str(index),
                    remedy="download the whole model",
                )
        return [index, *(directory / shard for shard in shards)]
    files = sorted(directory.glob("*.safetensors"))
    if (directory / "model.safetensors").is_file():
        # Some repositories also have the same weights in another layout (consolidated.safetensors).
        files = [directory / "model.safetensors"]
    if not files:
        other = sorted(directory.glob("pytorch_model*.bin"))
        held = f"; {other[0].name} is not supported" if other else ""
        raise ModelError(
            f"no .safetensors file in the model directory{held}",
            where=str(directory),
            remedy="save it as safetensors (in transformers: model.save_pretrained(directory)), or use a .gguf file",
        )
    return files
