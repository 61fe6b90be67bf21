"""The text model inside a checkpoint that also reads pictures: its configuration and its weights, without the rest.

Only wrappers whose text model computes the same alone; `tests/model/test_multimodal.py` compares each.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from pydantic import JsonValue

from qairt.model.json_file import read_json_object

WRAPPERS = {"gemma3": "gemma3_text", "llava": "llama", "mistral3": "mistral"}
"""Their `model_type` -> that of a text model whose configuration does not state it."""
_OF_ALL = ("bos_token_id", "eos_token_id", "pad_token_id", "quantization_config", "tie_word_embeddings")
"""Keys of the wrapper that its text model has too."""
_PREFIXES = {"language_model.model.": "model.", "language_model.": "", "model.language_model.": "model."}
"""Before the names of its weights, as stored -> as a text model has them."""
_HEAD = "lm_head."


def text_config(stated: Mapping[str, JsonValue]) -> dict[str, JsonValue] | None:
    """The configuration of a wrapper's text model; None for any other model."""
    inner = stated.get("text_config")
    usual = WRAPPERS.get(str(stated.get("model_type")))
    if usual is None or not isinstance(inner, dict):
        return None
    shared = {key: stated[key] for key in _OF_ALL if stated.get(key) is not None}
    return {"model_type": usual, **{key: value for key, value in inner.items() if key != "architectures"}, **shared}


def is_wrapper(directory: Path) -> bool:
    path = directory / "config.json"
    return path.is_file() and text_config(read_json_object(path)) is not None


def text_weight(stored: str) -> str | None:
    """The name of a wrapper's weight in its text model; None for a weight of another part."""
    prefix = next((prefix for prefix in _PREFIXES if stored.startswith(prefix)), None)
    if prefix is not None:
        return _PREFIXES[prefix] + stored.removeprefix(prefix)
    return stored if stored.startswith(_HEAD) else None
