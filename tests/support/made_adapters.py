"""Random LoRA adapters of a tiny model, in memory and through peft."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from peft import LoraConfig, PeftModel, get_peft_model
from peft.tuners.lora import LoraLayer
from transformers import PreTrainedModel

from qairt.model.config import DecoderConfig
from qairt.model.lora.shape import linear_sizes

SCALING = 2.0


@dataclass(frozen=True)
class MadeLinear:
    rank: int
    scaling: float
    a: np.ndarray
    b: np.ndarray


@dataclass(frozen=True)
class MadeAdapter:
    name: str
    modules: Mapping[str, MadeLinear]


def made_adapter(
    config: DecoderConfig, name: str, rank: int, only: Sequence[str] = (), seed: int = 0, size: float = 0.1
) -> MadeAdapter:
    """Random, on every linear or on those whose name ends with one of `only`."""
    rng = np.random.default_rng([seed, *name.encode()])
    modules = {
        module: MadeLinear(
            rank,
            SCALING,
            rng.normal(0, 0.2, (inputs, rank)).astype(np.float32),
            rng.normal(0, size, (rank, outputs)).astype(np.float32),
        )
        for module, (inputs, outputs) in linear_sizes(config).items()
        if not only or module.endswith(tuple(only))
    }
    return MadeAdapter(name, modules)


def ranks_of(*adapters: MadeAdapter) -> dict[str, dict[str, int]]:
    """By adapter, its rank in each of its modules."""
    return {one.name: {module: held.rank for module, held in one.modules.items()} for one in adapters}


def save_with_peft(adapter: MadeAdapter, model: PreTrainedModel, folder: Path) -> Path:
    """The adapter as peft writes it, into `folder / name`."""
    first = next(iter(adapter.modules.values()))
    settings = LoraConfig(
        r=first.rank,
        lora_alpha=first.rank * first.scaling,
        target_modules=sorted({module.rpartition(".")[2] for module in adapter.modules}),
        task_type="CAUSAL_LM",
    )
    wrapped = get_peft_model(model, settings)
    layers = dict(wrapped.base_model.model.named_modules())
    with torch.no_grad():
        for module, held in adapter.modules.items():
            layers[module].lora_A["default"].weight.copy_(torch.from_numpy(held.a.T.copy()))
            layers[module].lora_B["default"].weight.copy_(torch.from_numpy(held.b.T.copy()))
    wrapped.save_pretrained(folder / adapter.name)
    wrapped.unload()
    return folder / adapter.name


def peft_model(model: PreTrainedModel, folders: Sequence[Path], strengths: Sequence[float]) -> PeftModel:
    """The adapters on their base, combined by peft."""
    names = [folder.name for folder in folders]
    wrapped = PeftModel.from_pretrained(model, folders[0], adapter_name=names[0])
    for folder, name in zip(folders[1:], names[1:], strict=True):
        wrapped.load_adapter(folder, adapter_name=name)
    wrapped.base_model.set_adapter(names)
    for module in wrapped.modules():
        for name, strength in zip(names, strengths, strict=True):
            if isinstance(module, LoraLayer) and name in module.scaling:
                module.scaling[name] *= strength
    return wrapped.eval()
