"""Random LoRA adapters of tiny models, saved by PEFT."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import gguf
import numpy as np
import peft
import torch
from safetensors.torch import load_file, save_file
from tiny_models import tiny_model
from transformers import PreTrainedModel


def tiny_adapter(
    base: PreTrainedModel, *, seed: int = 0, std: float = 0.2, name: str = "default", **settings: Any
) -> peft.PeftModel:
    """An adapter whose A and B are random, on a base that it wraps."""
    torch.manual_seed(seed)
    given = {"r": 4, "lora_alpha": 8, "target_modules": ["q_proj", "v_proj"], **settings}
    model = peft.get_peft_model(base, peft.LoraConfig(**given), name)
    with torch.no_grad():
        for parameter in (each for key, each in model.named_parameters() if "lora_" in key and f".{name}" in key):
            parameter.normal_(std=std)
    return model.eval()


def save_adapter(directory: Path, base: PreTrainedModel | str = "llama", **settings: Any) -> peft.PeftModel:
    """Save a tiny adapter of a model, or of a new one of a family; the base is wrapped by it."""
    model = tiny_adapter(tiny_model(base) if isinstance(base, str) else base, **settings)
    model.save_pretrained(directory)
    return model


def deltas(model: peft.PeftModel) -> dict[str, np.ndarray]:
    """Module -> what PEFT adds to its stored weight, [out, in]."""
    return {
        name.removeprefix("base_model.model."): module.get_delta_weight("default").detach().numpy()
        for name, module in model.named_modules()
        if isinstance(module, peft.tuners.lora.LoraLayer)
    }


def rewrite_tensors(directory: Path, change: Callable[[dict[str, torch.Tensor]], None]) -> None:
    """Change the tensors of a saved adapter."""
    path = directory / "adapter_model.safetensors"
    tensors = load_file(path)
    change(tensors)
    save_file(tensors, path)


def write_gguf_adapter(
    path: Path,
    model: peft.PeftModel,
    names: dict[str, str],
    *,
    alpha: float | None = 8.0,
    architecture: str = "llama",
    fields: dict[str, str] | None = None,
) -> None:
    """Write an adapter as llama.cpp's converter does: rows of B permuted where the base's rows are.

    Args:
        names: of the base's tensors in GGUF, by the last part of a module's name.
    """
    writer = gguf.GGUFWriter(path, architecture)
    for key, value in {"general.type": "adapter", "adapter.type": "lora", **(fields or {})}.items():
        writer.add_string(key, value)
    if alpha is not None:
        writer.add_float32("adapter.lora.alpha", alpha)
    config = model.get_base_model().config
    for name, module in model.named_modules():
        if not isinstance(module, peft.tuners.lora.LoraLayer):
            continue
        parts = name.removeprefix("base_model.model.").split(".")
        target = f"blk.{parts[2]}.{names[parts[-1]]}.weight"
        b = module.lora_B["default"].weight.detach().numpy()
        heads = {"q_proj": config.num_attention_heads, "k_proj": config.num_key_value_heads}.get(parts[-1])
        if architecture == "llama" and heads:
            b = b.reshape(heads, 2, len(b) // heads // 2, -1).swapaxes(1, 2).reshape(b.shape)
        writer.add_tensor(f"{target}.lora_a", module.lora_A["default"].weight.detach().numpy())
        writer.add_tensor(f"{target}.lora_b", np.ascontiguousarray(b))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
