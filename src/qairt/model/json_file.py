"""JSON files of a model directory."""

from __future__ import annotations

from pathlib import Path

from pydantic import JsonValue

from qairt.errors import ModelError
from qairt.files import read_json


def read_json_object(
    path: Path, remedy: str = "use the file that was published with the model"
) -> dict[str, JsonValue]:
    """A JSON file that holds an object.

    Raises:
        ModelError: it holds something else.
    """
    try:
        stated = read_json(path)
    except ValueError as error:
        raise ModelError(f"not JSON: {error}", where=str(path), remedy=remedy) from error
    if not isinstance(stated, dict):
        raise ModelError("not a JSON object", where=str(path), remedy=remedy)
    return stated
