"""What a model's configuration says about quantized weights."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from pydantic import JsonValue

from qairt.errors import ModelError
from qairt.model.json_file import read_json_object

METHOD = "quant_method"
_OLD = ("quantize_config.json", "quant_config.json")
"""Where AutoGPTQ and AutoAWQ wrote it before transformers read `quantization_config`."""


@dataclass(frozen=True)
class Stated:
    """The settings of a quantization, from whichever file states them."""

    where: Path
    settings: Mapping[str, JsonValue] = field(default_factory=dict)
    method: str = ""
    """`quant_method` (`gptq`), `mlx`, `unknown` where settings name none, or empty if nothing is stated."""

    def integer(self, key: str) -> int | None:
        """
        Raises:
            ModelError: it is stated and not an integer.
        """
        value = self.settings.get(key)
        if value is None:
            return None
        if isinstance(value, bool) or not isinstance(value, int):
            raise ModelError(
                f"{key} is {json.dumps(value)}, not an integer",
                where=str(self.where),
                remedy="use the file that was published with the weights",
            )
        return value

    def text(self, key: str, default: str) -> str:
        value = self.settings.get(key)
        return value if isinstance(value, str) else default


def settings_files(directory: Path) -> list[Path]:
    """Files beside `config.json` that may state a quantization."""
    return [directory / name for name in _OLD]


def read_stated(directory: Path) -> Stated:
    """The quantization of a model directory's configuration.

    Raises:
        ModelError: a file is not a JSON object.
    """
    path = directory / "config.json"
    stated = read_json_object(path) if path.is_file() else {}
    packed = stated.get("quantization_config")
    if isinstance(packed, dict) and isinstance(method := packed.get(METHOD), str):
        return Stated(path, packed, method)
    mlx = stated.get("quantization")
    if isinstance(mlx, dict) and mlx:
        return Stated(path, mlx, "mlx")
    if packed:
        return Stated(path, packed if isinstance(packed, dict) else {}, "unknown")
    for name in _OLD:
        old = directory / name
        if old.is_file():
            settings = read_json_object(old)
            fallback = "gptq" if name == _OLD[0] else "awq"
            method = settings.get(METHOD)
            return Stated(old, settings, method if isinstance(method, str) else fallback)
    return Stated(path)
