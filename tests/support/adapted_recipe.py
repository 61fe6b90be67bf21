"""A whole recipe with LoRA adapters: two of PEFT beside a tiny model, and the concurrencies that use them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import yaml
from tiny_adapters import save_adapter
from tiny_recipe import TEXT, write_recipe
from transformers import AutoModelForCausalLM

ADAPTERS: dict[str, dict[str, Any]] = {
    "french": {"seed": 1, "target_modules": ["q_proj", "v_proj", "down_proj"]},
    "poems": {"seed": 2, "r": 2, "target_modules": ["q_proj", "o_proj", "gate_proj"]},
    "brief": {"seed": 3, "r": 3, "target_modules": ["q_proj", "k_proj"], "use_rslora": True},
}


def write_adapted_recipe(directory: Path, *, std: float = 0.05, form: str = "inputs", **recipe: Any) -> Path:
    """`recipe.yaml` with three adapters in two concurrencies: `french`, and `both` of poems and brief."""
    path = write_recipe(directory, **recipe)
    for name, settings in ADAPTERS.items():
        base = AutoModelForCausalLM.from_pretrained(directory / "model")
        save_adapter(directory / name, base, std=std, **settings)
    (directory / "poems.txt").write_text(TEXT[::-1])
    content = yaml.safe_load(path.read_text())
    content["lora"] = {
        "form": form,
        "quant_updatable_mode": "none",
        "adapters": {name: {"path": name} for name in ADAPTERS},
        "concurrencies": {
            "french": {"adapters": ["french"], "lora_scaling": [1.0], "calibration_dataset": "text.txt"},
            "both": {"adapters": ["poems", "brief"], "lora_scaling": [0.7, 0.5], "calibration_dataset": "poems.txt"},
        },
    }
    path.write_text(yaml.safe_dump(content, sort_keys=False))
    return path
