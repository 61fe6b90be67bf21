"""Weights in a GGUF file, dequantized to float32."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from qairt.model.gguf.file import BLOCKS, GgufHeader, GgufTensor
from qairt.model.gguf.names import gguf_name, hugging_face_name
from qairt.model.weights import ALL, missing_weight

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

_CHUNK_VALUES = 1 << 22
"""Values dequantized together, so that the temporaries of a large embedding stay small."""

_PERMUTED = ("self_attn.q_proj", "self_attn.k_proj")


class GgufWeights:
    """The decoder's weights under Hugging Face's names.

    llama.cpp rotates pairs of neighbours, Hugging Face halves, so the llama family's query and key rows are stored
    permuted (`LlamaModel.permute` in convert_hf_to_gguf.py); `read` undoes it. Qwen's are not permuted.
    """

    def __init__(self, header: GgufHeader) -> None:
        self.header = header
        names = {hugging_face_name(name): tensor for name, tensor in header.tensors.items()}
        self._tensors: dict[str, GgufTensor] = {name: tensor for name, tensor in names.items() if name is not None}
        architecture = header.fields.get("general.architecture")
        self._heads: tuple[int, int] | None = None
        if architecture == "llama":
            heads = header.fields["llama.attention.head_count"]
            kv_heads = header.fields.get("llama.attention.head_count_kv", heads)
            assert isinstance(heads, int)
            assert isinstance(kv_heads, int)  # `gguf_config` rejects others
            self._heads = heads, kv_heads

    def names(self) -> list[str]:
        return list(self._tensors)

    def shape(self, name: str) -> tuple[int, ...]:
        return self._find(name).shape

    def read(self, name: str, rows: slice = ALL) -> NDArray[np.float32]:
        if self._heads is not None and any(part in name for part in _PERMUTED):
            values = dequantize(self.header.path, self._find(name))
            heads = self._heads[0] if "q_proj" in name else self._heads[1]
            pairs = values.reshape(heads, values.shape[0] // heads // 2, 2, *values.shape[1:])
            return pairs.swapaxes(1, 2).reshape(values.shape)[rows]
        return dequantize(self.header.path, self._find(name), rows)

    def files(self) -> list[Path]:
        return [self.header.path]

    def stored_bytes(self) -> int:
        return sum(tensor.nbytes for tensor in self._tensors.values())

    def _find(self, name: str) -> GgufTensor:
        if name not in self._tensors:
            raise missing_weight(f"{name} ({gguf_name(name) or name})", self.header.path)
        return self._tensors[name]


def dequantize(path: Path, tensor: GgufTensor, of_first_axis: slice = ALL) -> NDArray[np.float32]:
    """A tensor of the file as float32, or a part of it; stored float32 is returned as a view of the file."""
    import numpy as np

    kind, _, _ = BLOCKS[tensor.type_id]
    stored = np.memmap(path, np.uint8, "r", tensor.offset, (tensor.nbytes,)).view(np.ndarray)
    if kind == "F32":
        return stored.view("<f4").reshape(tensor.shape)[of_first_axis]
    if kind == "F16":
        return stored.view("<f2").reshape(tensor.shape)[of_first_axis].astype(np.float32)

    from gguf import GGMLQuantizationType
    from gguf import dequantize as dequantize_rows

    width = tensor.shape[-1]
    stored = stored.reshape(*tensor.shape[:-1], tensor.nbytes * width // int(np.prod(tensor.shape)))[of_first_axis]
    rows = stored.reshape(-1, stored.shape[-1])
    values = np.empty((len(rows), width), np.float32)
    step = max(1, _CHUNK_VALUES // width)
    for start in range(0, len(rows), step):
        chunk = rows[start : start + step]
        values[start : start + step] = dequantize_rows(chunk, GGMLQuantizationType(tensor.type_id))
    return values.reshape(*stored.shape[:-1], width)
