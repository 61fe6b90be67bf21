"""Checkpoints of other kinds, refused by their names: quantized weights, adapters, embedding models."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from pydantic import JsonValue

from qairt.errors import ModelError
from qairt.files import read_regular
from qairt.model.json_file import read_json_object

_BY_SUFFIX = {
    ".weight_packed": "compressed-tensors",
    ".g_idx": "GPTQ",
    ".qweight": "GPTQ or AWQ",
    ".qzeros": "GPTQ or AWQ",
    ".SCB": "bitsandbytes, 8 bits",
    ".weight_format": "bitsandbytes, 8 bits",
    ".weight.absmax": "bitsandbytes, 4 bits",
    ".weight.quant_map": "bitsandbytes, 4 bits",
    ".weight._data": "quanto",
    ".W_q": "HQQ",
    ".weight_scale_inv": "FP8 with scales of blocks",
    "_blocks": "MXFP4",
}
"""The end of a tensor's name -> who writes such tensors. In order: the first that is found counts."""
_BY_TYPE = {
    "F8_E4M3": "FP8",
    "F8_E5M2": "FP8",
    "F8_E8M0": "MXFP8",
    "F4": "FP4",
    "I8": "8-bit integers",
    "U8": "8-bit integers",
    "U32": "MLX",
    "I32": "packed integers",
}
_SCALES = (".weight_scale", ".scales")


_REMEDY = "use the float model it was made from, or a GGUF file"


def refuse_quantized(types: Mapping[str, str], where: Path) -> None:
    """Check that all weights are plain floats.

    Args:
        types: name -> stored type of every tensor, as a safetensors header writes it.

    Raises:
        ModelError: names the scheme and a tensor that shows it.
    """
    for suffix, scheme in _BY_SUFFIX.items():
        for name in types:
            if name.endswith(suffix):
                raise _quantized(scheme, name, where)
    for name, kind in types.items():
        if kind in _BY_TYPE and name.endswith((".weight", ".bias")):
            raise _quantized(_BY_TYPE[kind], f"{name} is {kind}", where)
    for name in types:
        if name.endswith(_SCALES):
            raise _quantized("weights with scales", name, where)


def refuse_quantized_config(stated: Mapping[str, JsonValue], where: Path) -> None:
    """Check that a `config.json` states no quantization.

    Raises:
        ModelError: names the method.
    """
    for key, method_of in (("quantization_config", "quant_method"), ("quantization", "mode")):
        packed = stated.get(key)
        if not packed:
            continue
        method = packed.get(method_of) if isinstance(packed, dict) else None
        named = method if isinstance(method, str) else "MLX" if key == "quantization" else "unknown method"
        raise ModelError(f"the weights are stored quantized ({named})", where=str(where), remedy=_REMEDY)


def refuse_adapter(directory: Path) -> None:
    """Check that a model directory holds no adapter of PEFT; transformers applies one that lies beside its base model.

    Raises:
        ModelError: names the adapter's base model.
    """
    path = directory / "adapter_config.json"
    if not path.is_file():
        return
    stated = read_json_object(path)
    kind = f"{stated.get('peft_type') or 'LoRA'} adapter"
    merge = "merge it into the base model (in peft: model.merge_and_unload().save_pretrained(directory))"
    if (directory / "config.json").is_file():
        raise ModelError(
            f"the directory holds a {kind} beside its base model, and adapters are not supported",
            where=str(path),
            remedy=f"{merge}, or use the base model alone: move adapter_config.json away",
        )
    base = stated.get("base_model_name_or_path") or "not named"
    raise ModelError(
        f"this is a {kind}, its base model is {base}, and adapters are not supported",
        where=str(path),
        remedy=f"{merge}, or use the base model alone",
    )


def refuse_embedding_model(directory: Path) -> None:
    """Check that a model directory is no model of sentence-transformers, which pools what the decoder computes.

    Raises:
        ModelError: its `modules.json` lists a pooling.
    """
    path = directory / "modules.json"
    if path.is_file() and b"models.Pooling" in read_regular(path):
        raise ModelError(
            "this is an embedding model (sentence-transformers): it pools hidden states and generates no text",
            where=str(path),
            remedy="use a causal language model; to use this one as such, remove modules.json",
        )


def _quantized(scheme: str, shown_by: str, where: Path) -> ModelError:
    return ModelError(f"the weights are stored quantized ({scheme}: {shown_by})", where=str(where), remedy=_REMEDY)
