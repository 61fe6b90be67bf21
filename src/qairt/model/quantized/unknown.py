"""Quantized checkpoints that cannot be read, refused by the names of their formats."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from pathlib import Path

from qairt.errors import ModelError
from qairt.model.quantized.stated import Stated
from qairt.model.stored_tensor import FileTensor

_BY_SUFFIX = {
    ".weight_global_scale": "NVFP4",
    ".weight_scale_2": "NVFP4 of ModelOpt",
    ".weight_bitmask": "sparse weights of compressed-tensors",
    ".weight._data": "quanto",
    ".W_q": "HQQ",
    ".codebooks": "AQLM",
    ".weight.absmax": "bitsandbytes without its quant_state",
    ".weight.quant_map": "bitsandbytes without its quant_state",
    ".weight_format": "bitsandbytes without its SCB",
    ".qbiases": "Metal",
}
"""The end of a tensor's name -> who writes such tensors. In order: the first that is found counts."""
_BY_TYPE = {
    "F8_E8M0": "MXFP8",
    "F4": "FP4",
    "I8": "8-bit integers without scales",
    "U8": "8-bit integers",
    "U32": "packed integers without scales",
    "I32": "packed integers",
}
_SCALES = (".weight_scale", ".scales")
_REMEDY = "use the float model it was made from, a GGUF file, or one of these formats: FP8, GPTQ, AWQ, " + (
    "compressed-tensors, bitsandbytes, MLX, MXFP4"
)


def refuse_unknown(tensors: Mapping[str, FileTensor], shown: Mapping[str, str], where: Path) -> None:
    """Check that all weights are plain floats or in a format that can be read.

    Args:
        shown: the formats found, each with a tensor that shows it.

    Raises:
        ModelError: names the format and a tensor that shows it.
    """
    for suffix, scheme in _BY_SUFFIX.items():
        if any(scheme.startswith(known) for known in shown):
            continue
        for name in tensors:
            if name.endswith(suffix):
                raise unreadable(f"{scheme}: {name}", where)
    if shown:
        return
    for name, tensor in tensors.items():
        if tensor.dtype in _BY_TYPE and name.endswith((".weight", ".bias")):
            raise unreadable(f"{_BY_TYPE[tensor.dtype]}: {name} is {tensor.dtype}", where)
    for name in tensors:
        if name.endswith(_SCALES):
            raise unreadable(f"weights with scales: {name}", where)


def refuse_unknown_method(stated: Stated, known: Collection[str]) -> None:
    """Check that the configuration states a method whose formats can be read, or none.

    Raises:
        ModelError: names the method.
    """
    if stated.method and stated.method not in known:
        raise unreadable(stated.method if stated.method != "unknown" else "unknown method", stated.where)


def unreadable(scheme: str, where: Path, *, mixed: bool = False) -> ModelError:
    """The error for quantized weights.

    Args:
        mixed: what is stated and stored do not agree.
    """
    remedy = "use the config.json that was published with the weights, or the float model" if mixed else _REMEDY
    return ModelError(f"the weights are stored quantized ({scheme})", where=str(where), remedy=remedy)
