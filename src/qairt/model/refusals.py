"""Checkpoints of another kind, refused by their names: adapters."""

from __future__ import annotations

from pathlib import Path

from qairt.errors import ModelError
from qairt.model.json_file import read_json_object

_ADAPT = (
    "for the model with its adapter, name the adapter in the recipe (lora: adapters:), or merge the two "
    "(in peft: model.merge_and_unload().save_pretrained(directory))"
)


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
    if (directory / "config.json").is_file():
        raise ModelError(
            f"the directory holds a {kind} beside its base model, and it is not clear which is meant",
            where=str(path),
            remedy=f"move the adapter to a folder of its own; {_ADAPT}",
        )
    base = stated.get("base_model_name_or_path") or "not named"
    raise ModelError(
        f"this is a {kind}, not a model; its base model is {base}",
        where=str(path),
        remedy=f"use the base model; {_ADAPT}",
    )
