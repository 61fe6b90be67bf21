"""A LoRA adapter in a GGUF file, as llama.cpp's convert_lora_to_gguf.py writes it.

`blk.0.attn_q.weight.lora_a` is [rank, in] and `.lora_b` is [out, rank]; all modules share `adapter.lora.alpha`, and
without it their scaling is 1. Of the llama family the rows of B are permuted as the base's queries and keys are.
Source: `llama_adapter_lora_init_impl` and `llama_adapter_lora_weight::get_scale` in llama.cpp.
"""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from qairt.errors import ModelError
from qairt.model.config import DecoderConfig
from qairt.model.families import FAMILIES
from qairt.model.gguf.file import GgufHeader, GgufTensor, read_gguf_header
from qairt.model.gguf.names import hugging_face_name
from qairt.model.gguf.weights import dequantize
from qairt.model.lora.adapted import AdaptedModule, Adapter, StoredMatrix
from qairt.model.lora.linears import linear_sizes, modules_of
from qairt.model.weights import listed

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

_A, _B = ".lora_a", ".lora_b"
_ANOTHER = "use an adapter that was trained on this model"
_CONVERT = "convert the adapter again with llama.cpp's convert_lora_to_gguf.py"


def read_gguf_adapter(name: str, path: Path, config: DecoderConfig) -> Adapter:
    """The adapter in a file; its header only.

    Raises:
        ModelError: it is no LoRA adapter, damaged, needs what is not supported, or is of another model.
    """
    header = read_gguf_header(path)
    alpha = _alpha(header)
    linears = linear_sizes(config)
    known = {**{linear: [linear] for linear in linears}, **modules_of(config)}
    own = FAMILIES[config.family].gguf
    names = own.names if own is not None else {}
    tensors = header.tensors
    others = [tensor for tensor in tensors if not tensor.endswith((_A, _B))]
    if others or not tensors:
        what = f"tensors that are no A or B of a LoRA: {listed(others)}" if others else "no LoRA"
        raise ModelError(f"the adapter holds {what}", where=str(path), remedy=_CONVERT)
    found: dict[str, AdaptedModule] = {}
    for written in dict.fromkeys(tensor.removesuffix(_A).removesuffix(_B) for tensor in tensors):
        for end, other in ((_A, _B), (_B, _A)):
            if written + end not in tensors:
                raise ModelError(f"{written}{other} is stored without {written}{end}", where=str(path), remedy=_CONVERT)
        module = (hugging_face_name(written, names) or "").removesuffix(".weight")
        if module.endswith(".up_proj") and tensors[written + _B].shape[0] == 2 * config.intermediate_size:
            module = f"{module.removesuffix('up_proj')}gate_up_proj"
        parts = {part: linears[part] for part in known.get(module, ())}
        found |= _adapted(written, header, config, parts, alpha)
    return Adapter(name, path, (path,), {linear: found[linear] for linear in linears if linear in found})


def _alpha(header: GgufHeader) -> float:
    fields, where = header.fields, str(header.path)
    if fields.get("general.type") != "adapter":
        raise ModelError("this GGUF file is no adapter: its general.type is not adapter", where=where, remedy=_CONVERT)
    if fields.get("adapter.type") != "lora":
        raise ModelError(
            f"this is an adapter of type {fields.get('adapter.type')}", where=where, remedy="use a LoRA adapter"
        )
    if "adapter.alora.invocation_tokens" in fields:
        raise ModelError(
            "the adapter has aLoRA, which begins at a token (adapter.alora.invocation_tokens), which is not supported",
            where=where,
            remedy="use a LoRA adapter that acts on every token",
        )
    alpha = fields.get("adapter.lora.alpha", 0.0)
    if not isinstance(alpha, int | float) or alpha != alpha or abs(alpha) == float("inf"):
        raise ModelError(f"adapter.lora.alpha is {alpha}", where=where, remedy=_CONVERT)
    return float(alpha)


def _adapted(
    written: str, header: GgufHeader, config: DecoderConfig, parts: dict[str, tuple[int, int]], alpha: float
) -> dict[str, AdaptedModule]:
    """One tensor of the base as the decoder's linears: a joined one shares its A, and each gets its rows of B.

    Args:
        parts: these linears and their sizes; none if the decoder has no such tensor.
    """
    where = str(header.path)
    a, b = header.tensors[written + _A], header.tensors[written + _B]
    if not parts:
        raise ModelError(f"{a.name} adapts {written}, which is no linear of the model", where=where, remedy=_ANOTHER)
    rank = a.shape[0]
    inputs, outputs = next(iter(parts.values()))[0], sum(size for _, size in parts.values())
    if rank < 1:
        raise ModelError(f"{a.name} has rank {rank}", where=where, remedy="the rank of an adapter is at least 1")
    for tensor, expected in ((a, (rank, inputs)), (b, (outputs, rank))):
        if tensor.shape != expected:
            raise ModelError(
                f"the adapter is of another model: {tensor.name} has shape {list(tensor.shape)}, "
                f"for {written} it must be {list(expected)}",
                where=where,
                remedy=_ANOTHER,
            )
    permuted = header.fields.get("general.architecture") == "llama"
    heads = {"q_proj": config.num_heads, "k_proj": config.num_kv_heads}
    found, start = {}, 0
    for part, (_, count) in parts.items():
        swapped = heads.get(part.rpartition(".")[2]) if permuted else None
        found[part] = AdaptedModule(
            part,
            rank,
            alpha / rank if alpha else 1.0,
            StoredMatrix(a.name, header.path, partial(dequantize, header.path, a)),
            StoredMatrix(b.name, header.path, partial(_rows, header.path, b.rows(start, count), swapped)),
        )
        start += count
    return found


def _rows(path: Path, tensor: GgufTensor, heads: int | None) -> NDArray[np.float32]:
    """The rows of a B; of the llama family, pairs of neighbours back to halves as in `GgufWeights.read`."""
    values = dequantize(path, tensor)
    if heads is None:
        return values
    pairs = values.reshape(heads, len(values) // heads // 2, 2, values.shape[1])
    return pairs.swapaxes(1, 2).reshape(values.shape)
