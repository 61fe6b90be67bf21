"""`LoRAAdapterMetadata`: what loading the model tells later stages about its adapters, as a file."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from qairt.files import read_json
from qairt.recipe.configs import LoRAAdapterMetadata

if TYPE_CHECKING:
    from pydantic import JsonValue

    from qairt.model.lora.adapted import Adapter


def write_metadata(path: Path, adapters: Mapping[str, Adapter]) -> None:
    """Write the metadata of adapters as JSON; a GGUF file's settings are written as PEFT would state them.

    Does without PEFT, which takes seconds to import: the settings of a PEFT adapter are those in its folder.
    """
    scalings = {name: [module.scaling for module in adapter.modules.values()] for name, adapter in adapters.items()}
    plain = {
        "alpha_scalings": scalings,
        "max_alpha_scale": max((abs(each) for found in scalings.values() for each in found), default=0.0),
        "peft_configs": {name: _peft_settings(adapter) for name, adapter in adapters.items()},
    }
    path.write_text(json.dumps(plain, indent=1) + "\n", encoding="utf-8")


def read_metadata(path: Path) -> LoRAAdapterMetadata:
    """What `write_metadata` wrote, with PEFT's own objects."""
    from peft import PeftConfig

    stated = LoRAAdapterMetadata.model_validate(read_json(path))
    configs = {name: PeftConfig.from_peft_type(**dict(config)) for name, config in stated.peft_configs.items()}
    return stated.model_copy(update={"peft_configs": configs})


def _peft_settings(adapter: Adapter) -> Mapping[str, JsonValue]:
    """`adapter_config.json` of an adapter."""
    from qairt.model.json_file import read_json_object
    from qairt.model.lora.peft_settings import ADAPTER_CONFIG

    if adapter.path.is_dir():
        return read_json_object(adapter.path / ADAPTER_CONFIG)
    ranks = adapter.ranks
    alphas = {module.name: module.scaling * module.rank for module in adapter.modules.values()}
    first = next(iter(ranks))
    return {
        "peft_type": "LORA",
        "r": ranks[first],
        "lora_alpha": alphas[first],
        "target_modules": [*ranks],
        "rank_pattern": {module: rank for module, rank in ranks.items() if rank != ranks[first]},
        "alpha_pattern": {module: alpha for module, alpha in alphas.items() if alpha != alphas[first]},
    }
