"""Checkpoints of other kinds, refused by their names: adapters, embedding models."""

from __future__ import annotations

from pathlib import Path

from qairt.errors import ModelError
from qairt.files import read_regular
from qairt.model.json_file import read_json_object


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
