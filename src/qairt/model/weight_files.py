"""Which files of a model directory hold its weights: those that transformers would load."""

from __future__ import annotations

from pathlib import Path

from qairt.errors import ModelError
from qairt.files import read_json

INDEX = "model.safetensors.index.json"
_WHOLE = "model.safetensors"
_OTHERS = ("adapter_model", "consolidated")
"""Starts of file names: adapters, and the same weights in Mistral's own layout."""


def weight_files(directory: Path) -> list[Path]:
    """In this order: `model.safetensors`, even if an index lies beside it; the index and its shards; any .safetensors.

    Raises:
        ModelError: there are none, or the index names one that is missing.
    """
    if (directory / _WHOLE).is_file():
        return [directory / _WHOLE]
    index = directory / INDEX
    if index.is_file():
        return [index, *_shards(index)]
    files = sorted(file for file in directory.glob("*.safetensors") if not file.name.startswith(_OTHERS))
    if not files:
        other = sorted((*directory.glob("pytorch_model*.bin"), *directory.glob("consolidated*.safetensors")))
        held = f"; {other[0].name} is not supported" if other else ""
        raise ModelError(
            f"no .safetensors file in the model directory{held}",
            where=str(directory),
            remedy="save it as safetensors (in transformers: model.save_pretrained(directory)), or use a .gguf file",
        )
    return files


def unused_weight_files(directory: Path, used: list[Path]) -> list[str]:
    """Names of the other .safetensors files and indexes of a directory."""
    found = {*directory.glob("*.safetensors"), *directory.glob(INDEX)}
    return sorted(file.name for file in found - set(used))


def _shards(index: Path) -> list[Path]:
    try:
        shards = sorted(set(read_json(index)["weight_map"].values()))
        if any(not shard or Path(shard).name != shard for shard in shards):
            raise ValueError("a shard is not beside its index")
        paths = [index.parent / shard for shard in shards]
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise ModelError(
            "not a shard index: it has no valid weight_map",
            where=str(index),
            remedy="download or copy it again",
        ) from error
    for path in paths:
        if not path.is_file():
            raise ModelError(
                f"the shard {path.name} is missing ({len(shards)} shards are listed)",
                where=str(index),
                remedy="download the whole model",
            )
    return paths
