"""Weights in a GGUF file, dequantized to float32."""

from __future__ import annotations

from collections.abc import Collection
from math import prod
from pathlib import Path
from typing import TYPE_CHECKING

from qairt.errors import ModelError
from qairt.model.families.family import Gguf
from qairt.model.gguf.architectures import ARCHITECTURES
from qairt.model.gguf.fields import GgufFields
from qairt.model.gguf.file import BLOCKS, GgufHeader, GgufTensor
from qairt.model.gguf.names import gguf_name, hugging_face_name
from qairt.model.layout import CONV_PROJECTIONS
from qairt.model.storage import Format, Storage
from qairt.model.weights import ALL, listed, missing_weight

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

_CHUNK_VALUES = 1 << 22
"""Values dequantized together, so that the temporaries of a large embedding stay small."""

_BESIDE = ("rope_freqs.weight", "rope_factors_long.weight", "rope_factors_short.weight")
"""Read with the configuration."""
_FLAT = (".experts.gate_proj.bias", ".experts.up_proj.bias")
"""Stored [experts, width]."""
_TURNED = ".expert_bias.weight"
"""Stored [experts, hidden]."""
_TAP = ".conv.tap_"
"""Stored together, [channels, length], oldest token first."""
_PERMUTED = ("self_attn.q_proj", "self_attn.k_proj")


class GgufWeights:
    """The decoder's weights under Hugging Face's names.

    llama.cpp rotates pairs of neighbours, Hugging Face halves, so the llama family's query and key rows are stored
    permuted (`LlamaModel.permute` in convert_hf_to_gguf.py); `read` undoes it. Others' are not permuted.
    """

    def __init__(self, header: GgufHeader) -> None:
        self.header = header
        architecture = header.fields.get("general.architecture")
        known = ARCHITECTURES.get(str(architecture))
        self._gguf = Gguf(str(architecture)) if known is None else known[1]
        names = {hugging_face_name(name, self._gguf.names): tensor for name, tensor in header.tensors.items()}
        self._tensors: dict[str, GgufTensor] = {name: tensor for name, tensor in names.items() if name is not None}
        self._unused = [
            name for name in header.tensors if name not in _BESIDE and hugging_face_name(name, self._gguf.names) is None
        ]
        fields = GgufFields(header, f"{architecture}.")
        self._taps: dict[str, int] = {}
        """Tap of a convolution -> its distance; its tensor is that of all taps."""
        self._heads: tuple[int, int] | None = None
        if self._gguf.permuted:
            heads = fields.integer("attention.head_count")
            self._heads = heads, fields.integer("attention.head_count_kv", heads)
        elif architecture in ("phi3", "glm4"):
            self._split_projections(fields.integer("feed_forward_length"))
        self._split_convolutions()

    def names(self) -> list[str]:
        return list(self._tensors)

    def shape(self, name: str) -> tuple[int, ...]:
        shape = self._find(name).shape
        if _TAP in name:
            return shape[:1]
        if name.endswith(_FLAT):
            return (prod(shape),)
        return shape[::-1] if name.endswith(_TURNED) else shape

    def read(self, name: str, rows: slice = ALL) -> NDArray[np.float32]:
        import numpy as np

        if _TAP in name:
            return dequantize(self.header.path, self._find(name), rows)[:, -1 - self._taps[name]].copy()
        if name.endswith((*_FLAT, _TURNED)):
            whole = dequantize(self.header.path, self._find(name))
            return (whole.T if name.endswith(_TURNED) else whole.reshape(-1))[rows]
        if self._heads is not None and any(part in name for part in _PERMUTED):
            values = dequantize(self.header.path, self._find(name))
            heads = self._heads[0] if "q_proj" in name else self._heads[1]
            pairs = values.reshape(heads, values.shape[0] // heads // 2, 2, *values.shape[1:])
            return pairs.swapaxes(1, 2).reshape(values.shape)[rows]
        values = dequantize(self.header.path, self._find(name), rows)
        return values - np.float32(1) if self._gguf.holds_one and name.endswith("norm.weight") else values

    def files(self) -> list[Path]:
        return [self.header.path]

    def storage(self) -> Storage | None:
        """How the quantized matrices are stored; None if all are plain floats."""
        return Storage.of(
            Format(kind, int(next(filter(str.isdigit, kind))), f"blocks of {size}")
            for kind, size, _ in (BLOCKS[tensor.type_id] for tensor in self.header.tensors.values())
            if size > 1
        )

    def stored_bytes(self) -> int:
        return sum(tensor.nbytes for tensor in self._tensors.values())

    def refuse_unused(self, needed: Collection[str]) -> None:
        """Check that every tensor of the file is used, as llama.cpp does.

        Args:
            needed: names of the decoder's weights.

        Raises:
            ModelError: lists the others.
        """
        others = [
            gguf_name(name, self._gguf.names) or name for name in self._tensors if name not in needed
        ] + self._unused
        if others:
            raise ModelError(
                f"the header does not use tensors that the file holds: {listed(others)}",
                where=str(self.header.path),
                remedy="convert the model again with llama.cpp's convert_hf_to_gguf.py",
            )

    def _split_projections(self, intermediate: int) -> None:
        """Phi-3's are stored joined: their rows follow each other in the file."""
        for name, joined in list(self._tensors.items()):
            module, _, projection = name.removesuffix(".weight").rpartition(".")
            if len(joined.shape) != 2:
                continue
            if projection == "qkv_proj":
                queries = joined.shape[1]
                keys = (joined.shape[0] - queries) // 2
                parts = {"q_proj": queries, "k_proj": keys, "v_proj": keys}
            elif projection == "up_proj" and joined.shape[0] == 2 * intermediate:
                parts = {"gate_proj": intermediate, "up_proj": intermediate}
            else:
                continue
            del self._tensors[name]
            start = 0
            for part, count in parts.items():
                self._tensors[f"{module}.{part}.weight"] = joined.rows(start, count)
                start += count

    def _split_convolutions(self) -> None:
        """Their three projections, whose rows follow each other in the file, and their taps."""
        for name, joined in list(self._tensors.items()):
            module, _, part = name.removesuffix(".weight").rpartition(".")
            if not module.endswith(".conv") or len(joined.shape) != 2:
                continue
            if part == "in_proj" and joined.shape[0] % 3 == 0:
                rows = joined.shape[0] // 3
                for place, projection in enumerate(CONV_PROJECTIONS):
                    self._tensors[f"{module}.{projection}.weight"] = joined.rows(place * rows, rows)
            elif part == "conv":
                for distance in range(joined.shape[1]):
                    self._tensors[f"{module}.tap_{distance}.weight"] = joined
                    self._taps[f"{module}.tap_{distance}.weight"] = distance
            else:
                continue
            del self._tensors[name]

    def _find(self, name: str) -> GgufTensor:
        if name not in self._tensors:
            raise missing_weight(f"{name} ({gguf_name(name, self._gguf.names) or name})", self.header.path)
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
