"""`output` in every stage's settings: its human-readable outputs and their folders. None of it is in a cache key.

Source: the names, the defaults and how `save_dir` is resolved are those of the vendor's pipelines, except that pictures
which nobody asked for are drawn when they are first looked at instead of at the end of every run.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated, Literal

from pydantic import AfterValidator, ConfigDict, Field

from qairt.files import expanded
from qairt.settings_model import SettingsModel

OutputKind = Literal["prediction", "visualization"]
KINDS: tuple[OutputKind, ...] = ("prediction", "visualization")
DEFAULT_PRESET = "torch.default"
_SUBDIRECTORIES: dict[OutputKind, str] = {"prediction": "pred", "visualization": "viz"}


def _check_save_dir(save_dir: str | None) -> str | None:
    if save_dir is None:
        return None
    if not save_dir.strip() or "\0" in save_dir:
        raise ValueError("save_dir is not a folder: name one, or remove save_dir to use the default")
    given = expanded(save_dir)
    if not given.is_absolute() and os.path.normpath(given).split(os.sep)[0] == os.pardir:
        raise ValueError(
            f"{save_dir} is outside the stage's output directory: name a folder inside it, or use an absolute path"
        )
    return save_dir


SaveDir = Annotated[str | None, AfterValidator(_check_save_dir)]


class PredictionOutput(SettingsModel):
    """The model's answers at this stage."""

    model_config = ConfigDict(validate_default=True)

    enable: bool = False
    save_dir: SaveDir = None
    """Relative to the stage's output directory, which is `.`, or absolute. Default: `pred`."""


class VisualizationOutput(SettingsModel):
    """Pictures and pages."""

    model_config = ConfigDict(validate_default=True)

    enable: bool | None = None
    """true: drawn at the end of every run. Not set: when `qairt report` first shows them, or with the stage's
    predictions. false: never."""
    save_dir: SaveDir = None
    """Relative to the stage's output directory, which is `.`, or absolute. Default: `viz`."""


class ModelPrediction(SettingsModel):
    """How a model's predictions are written."""

    strip_special_tokens: bool = False
    """Remove tokens such as `<|im_end|>` from `text_clean`."""


class ModelVisualization(SettingsModel):
    """How a model's pictures are shown."""

    max_images: Annotated[int, Field(ge=0)] = 16
    """Pictures in the gallery; 0 for no gallery."""
    thumbnail_width: Annotated[int, Field(gt=0)] = 480
    """Width of a picture in the gallery, in pixels."""


class ModelOutput(SettingsModel):
    """Output settings of one model."""

    prediction: ModelPrediction = Field(default_factory=ModelPrediction)
    visualization: ModelVisualization = Field(default_factory=ModelVisualization)


class OutputSettings(SettingsModel):
    """A stage's human-readable outputs. Changing them rebuilds no item."""

    preset: str = DEFAULT_PRESET
    """Name of a file with defaults for these settings: `output/NAME.yaml` and `model/MODEL/output/NAME.yaml`, beside
    the recipe or built in."""
    prediction: PredictionOutput = Field(default_factory=PredictionOutput)
    visualization: VisualizationOutput = Field(default_factory=VisualizationOutput)
    extra: dict[str, ModelOutput] = Field(default_factory=dict)
    """By model: the start of its name in lower case, with `_` in place of other characters than letters and digits."""

    def wants(self, kind: OutputKind) -> bool:
        """Whether every run writes outputs of this kind."""
        if kind == "visualization" and self.visualization.enable is None:
            return self.prediction.enable
        return bool(getattr(self, kind).enable)

    def allows(self, kind: OutputKind) -> bool:
        """Whether outputs of this kind are written at some time: by every run, or when somebody looks at them."""
        return self.wants(kind) or (kind == "visualization" and self.visualization.enable is None)

    def folder(self, kind: OutputKind, stage_directory: Path) -> Path:
        """The folder for outputs of this kind."""
        save_dir = getattr(self, kind).save_dir
        given = expanded(save_dir if save_dir is not None else _SUBDIRECTORIES[kind])
        return Path(os.path.normpath(stage_directory / given))

    def of_model(self, name: str) -> ModelOutput:
        """The settings in `extra` for the model called `name`; a longer key overrides a shorter one."""
        values: dict[str, dict[str, object]] = {kind: {} for kind in KINDS}
        for key in sorted((key for key in self.extra if is_model(name, key)), key=len):
            for kind in KINDS:
                values[kind] |= getattr(self.extra[key], kind).model_dump(exclude_unset=True)
        return ModelOutput.model_validate(values)


def model_name(model_id_or_path: object) -> str:
    """A model's name as a key of `extra`: `smollm2_135m_instruct` for `org/SmolLM2-135M-Instruct`; empty for None, and
    for a wrong value, which is not told here."""
    given = model_id_or_path.rstrip("/").rpartition("/")[2] if isinstance(model_id_or_path, str) else ""
    for ending in (".gguf", ".safetensors"):
        given = given.removesuffix(ending)
    words = "".join(char if char.isalnum() else " " for char in given.lower()).split()
    return "_".join(words)


def is_model(name: str, key: str) -> bool:
    """Whether `key` matches the model called `name`: `smollm2` matches `smollm2_135m_instruct`."""
    return bool(name) and (name == key or name.startswith(f"{key}_"))
