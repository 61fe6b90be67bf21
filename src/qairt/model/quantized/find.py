"""Which tensors of a checkpoint are packed, in which format, and the weights they hold."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

from qairt.keys import canonical
from qairt.model.quantized.awq import find_awq
from qairt.model.quantized.bitsandbytes import find_bitsandbytes
from qairt.model.quantized.compressed_tensors import find_compressed
from qairt.model.quantized.fp8 import find_fp8
from qairt.model.quantized.gptq import find_gptq
from qairt.model.quantized.mlx import find_mlx
from qairt.model.quantized.mxfp4 import find_mxfp4
from qairt.model.quantized.packed import Packed
from qairt.model.quantized.stated import Stated
from qairt.model.quantized.unknown import refuse_unknown, refuse_unknown_method, unreadable
from qairt.model.storage import Storage
from qairt.model.stored_tensor import FileTensor, StoredTensor

Find = Callable[[Mapping[str, FileTensor], Stated], Iterator[Packed]]

_FINDERS: dict[str, Find] = {
    "GPTQ": find_gptq,
    "AWQ": find_awq,
    "compressed-tensors": find_compressed,
    "bitsandbytes": find_bitsandbytes,
    "MLX": find_mlx,
    "FP8": find_fp8,
    "MXFP4": find_mxfp4,
}
_METHODS = {
    "gptq": ("GPTQ",),
    "awq": ("AWQ",),
    "compressed-tensors": ("compressed-tensors", "FP8"),
    "bitsandbytes": ("bitsandbytes",),
    "mlx": ("MLX",),
    "fp8": ("FP8",),
    "fbgemm_fp8": ("FP8",),
    "mxfp4": ("MXFP4",),
}
"""`quant_method` of a configuration -> the formats it writes."""


def unpack_quantized(
    tensors: Mapping[str, FileTensor], stated: Stated, where: Path
) -> tuple[dict[str, StoredTensor], Storage | None]:
    """The tensors of a checkpoint with every packed weight as one; nothing is read but headers and a few bytes.

    Args:
        tensors: all that the files hold.
        stated: what the configuration says.
        where: the model directory, for messages.

    Returns:
        The tensors, plain ones as they are, and how the packed ones are stored (None if there are none).

    Raises:
        ModelError: a format that is not supported, several in one checkpoint, tensors that do not fit together, or a
            configuration of quantized weights without any.
    """
    refuse_unknown_method(stated, _METHODS)
    shown = _shown(tensors)
    refuse_unknown(tensors, shown, where)
    allowed = _METHODS.get(stated.method, tuple(_FINDERS))
    for scheme, name in shown.items():
        if scheme not in allowed:
            raise unreadable(
                f"{name} is a tensor of {scheme}, but quant_method is {stated.method}", stated.where, mixed=True
            )
    if stated.method and not shown:
        raise unreadable(f"quant_method is {stated.method}, but no tensor is stored so", stated.where, mixed=True)
    if len(shown) > 1 and set(shown) != {"compressed-tensors", "FP8"}:
        both = " and ".join(f"{scheme} ({name})" for scheme, name in shown.items())
        raise unreadable(f"formats are mixed: {both}", where, mixed=True)
    packed = [weight for scheme in shown for weight in _FINDERS[scheme](tensors, stated)]
    used = {part.name for weight in packed for part in weight.parts}
    for weight in packed:
        if weight.name in tensors and weight.name not in used:
            raise weight.fault("it is stored in full too", where)
    found: dict[str, StoredTensor] = {name: tensor for name, tensor in tensors.items() if name not in used}
    found.update((weight.name, weight) for weight in packed)
    return found, Storage.of((weight.stored_as for weight in packed), canonical(stated.settings))


def _shown(tensors: Mapping[str, FileTensor]) -> dict[str, str]:
    """The formats that the tensors are in, each with a name that shows it."""
    shown: dict[str, str] = {}
    for name, tensor in tensors.items():
        scheme = _scheme(name, tensor, tensors)
        if scheme is not None:
            shown.setdefault(scheme, name)
    return shown


def _scheme(name: str, tensor: FileTensor, tensors: Mapping[str, FileTensor]) -> str | None:
    """The format of one tensor; None for a plain one and for what lies beside another."""
    if name.endswith(".qweight"):
        scales = tensors.get(f"{name.removesuffix('qweight')}scales")
        along_outputs = scales is not None and scales.shape[-1:] != tensor.shape[-1:]
        return "AWQ" if along_outputs else "GPTQ"
    if name.endswith(".weight_packed"):
        return "compressed-tensors"
    if name.endswith(".SCB") or ".quant_state.bitsandbytes__" in name:
        return "bitsandbytes"
    if name.endswith("_blocks") and f"{name.removesuffix('_blocks')}_scales" in tensors:
        return "MXFP4"
    if not name.endswith(".weight"):
        return None
    if tensor.dtype == "I8" and f"{name}_scale" in tensors:
        return "compressed-tensors"
    if tensor.dtype in ("F8_E4M3", "F8_E5M2"):
        return "FP8"
    if tensor.dtype == "U32" and f"{name.removesuffix('weight')}scales" in tensors:
        return "MLX"
    return None
