"""`LoRAAdapterMetadata`: what loading the model tells later stages about its adapters, as a file. Imports peft."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from qairt.files import read_json
from qairt.recipe.configs import LoRAAdapterMetadata

if TYPE_CHECKING:
    from peft import PeftConfig

    from qairt.model.lora.adapted import Adapter


def metadata_of(adapters: Mapping[str, Adapter]) -> LoRAAdapterMetadata:
    """The metadata of adapters; a GGUF file's settings are written as peft would state them."""
    scalings = {name: [module.scaling for module in adapter.modules.values()] for name, adapter in adapters.items()}
    return LoRAAdapterMetadata(
        alpha_scalings=scalings,
        max_alpha_scale=max((abs(each) for found in scalings.values() for each in found), default=0.0),
        peft_configs={name: _peft_config(adapter) for name, adapter in adapters.items()},
    )


def write_metadata(path: Path, metadata: LoRAAdapterMetadata) -> None:
    """Write metadata as JSON, the same bytes for the same adapters."""
    plain = metadata.model_dump(mode="json")
    for name, config in metadata.peft_configs.items():
        for key, value in plain["peft_configs"][name].items():
            if isinstance(getattr(config, key, None), set):
                plain["peft_configs"][name][key] = sorted(value)
    path.write_text(json.dumps(plain, indent=1) + "\n")


def read_metadata(path: Path) -> LoRAAdapterMetadata:
    """What `write_metadata` wrote, with peft's own objects."""
    from peft import PeftConfig

    stated = LoRAAdapterMetadata.model_validate(read_json(path))
    configs = {name: PeftConfig.from_peft_type(**dict(config)) for name, config in stated.peft_configs.items()}
    return stated.model_copy(update={"peft_configs": configs})


def _peft_config(adapter: Adapter) -> PeftConfig:
    from peft import LoraConfig, PeftConfig

    if adapter.path.is_dir():
        return PeftConfig.from_pretrained(str(adapter.path))
    ranks = adapter.ranks
    alphas = {module.name: module.scaling * module.rank for module in adapter.modules.values()}
    first = next(iter(ranks))
    return LoraConfig(
        r=ranks[first],
        lora_alpha=alphas[first],
        target_modules=[*ranks],
        rank_pattern={module: rank for module, rank in ranks.items() if rank != ranks[first]},
        alpha_pattern={module: alpha for module, alpha in alphas.items() if alpha != alphas[first]},
    )
