"""The text that a recipe's model is calibrated on."""

from __future__ import annotations

from importlib.resources import files as package_files
from pathlib import Path

from qairt.engine.stage import Env
from qairt.errors import QuantizationError
from qairt.stages.facts import require_file

_SETTING = "stages.quantization.calibration_text"


def calibration_path(env: Env, stated: str | None) -> Path:
    """The file that the recipe states, or the text that qairt ships.

    Raises:
        RecipeError: it does not exist.
        QuantizationError: it is empty.
    """
    if stated is None:
        return Path(str(package_files("qairt") / "data" / "calib.txt"))
    path = require_file(env, _SETTING, stated)
    if not path.stat().st_size:
        raise QuantizationError(
            f"the calibration text {path} is empty",
            where=_SETTING,
            remedy="use some pages of text of the kind the model will process",
        )
    return path
