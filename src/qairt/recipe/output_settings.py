"""What a stage leaves for people to read, and where: `output` in every stage's settings. None of it is in a cache key.

Source: the names, the defaults and how `save_dir` is resolved are those of seed 003.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field

OutputKind = Literal["prediction", "visualization"]
KINDS: tuple[OutputKind, ...] = ("prediction", "visualization")
DEFAULT_PRESET = "torch.default"
_SUBDIRECTORIES: dict[OutputKind, str] = {"prediction": "pred", "visualization": "viz"}


def _stays_inside(save_dir: str | None) -> str | None:
    if save_dir is None:
        return None
    if not save_dir.strip() or "\0" in save_dir:
        raise ValueError("it names no folder: give one, or leave save_dir out for the default")
    given = Path(os.path.expanduser(save_dir))
    if not given.is_absolute() and os.path.normpath(given).split(os.sep)[0] == os.pardir:
        raise ValueError(
            f"{save_dir} leaves the stage's output directory: name a folder inside it, or give an absolute path"
        )
    return save_dir


SaveDir = Annotated[str | None, AfterValidator(_stays_inside)]


class PredictionOutput(BaseModel):
    """What the model says at this stage."""

    model_config = ConfigDict(extra="forbid", validate_default=True)

    enable: bool = False
    save_dir: SaveDir = None
    """Relative to the stage's output directory, which is `.`; absolute paths are taken as they are. `pred` when left
    out."""


class VisualizationOutput(BaseModel):
    """Pictures and pages."""

    model_config = ConfigDict(extra="forbid", validate_default=True)

    enable: bool = True
    save_dir: SaveDir = None
    """Relative to the stage's output directory, which is `.`; absolute paths are taken as they are. `viz` when left
    out."""


class ModelPrediction(BaseModel):
    """How a model's predictions are written."""

    model_config = ConfigDict(extra="forbid")

    strip_special_tokens: bool = False
    """Leave tokens such as `<|im_end|>` out of `text_clean`."""


class ModelVisualization(BaseModel):
    """How a model's pictures are shown."""

    model_config = ConfigDict(extra="forbid")

    max_images: Annotated[int, Field(ge=0)] = 16
    """Pictures on the gallery's page; 0 for no page."""
    thumbnail_width: Annotated[int, Field(gt=0)] = 480
    """Pixels of each of them."""


class ModelOutput(BaseModel):
    """Output settings of one model."""

    model_config = ConfigDict(extra="forbid")

    prediction: ModelPrediction = Field(default_factory=ModelPrediction)
    visualization: ModelVisualization = Field(default_factory=ModelVisualization)


class OutputSettings(BaseModel):
    """What a stage leaves for people to read. Changing it runs no item again."""

    model_config = ConfigDict(extra="forbid")

    preset: str = DEFAULT_PRESET
    """A file of output settings under these: `output/NAME.yaml` and `model/MODEL/output/NAME.yaml`, beside the recipe
    or among those that qairt ships."""
    prediction: PredictionOutput = Field(default_factory=PredictionOutput)
    visualization: VisualizationOutput = Field(default_factory=VisualizationOutput)
    extra: dict[str, ModelOutput] = Field(default_factory=dict)
    """By model: the beginning of the model's name, in small letters and with _ for what is neither letter nor digit."""

    def wants(self, kind: OutputKind) -> bool:
        """Whether outputs of this kind are asked for."""
        return bool(getattr(self, kind).enable)

    def folder(self, kind: OutputKind, stage_directory: Path) -> Path:
        """Where outputs of this kind go."""
        save_dir = getattr(self, kind).save_dir
        given = os.path.expanduser(save_dir if save_dir is not None else _SUBDIRECTORIES[kind])
        return Path(os.path.normpath(stage_directory / given))

    def of_model(self, name: str) -> ModelOutput:
        """The settings in `extra` of the model called `name`; those of a longer name go over those of a shorter."""
        values: dict[str, dict[str, object]] = {kind: {} for kind in KINDS}
        for key in sorted((key for key in self.extra if is_model(name, key)), key=len):
            for kind in KINDS:
                values[kind] |= getattr(self.extra[key], kind).model_dump(exclude_unset=True)
        return ModelOutput.model_validate(values)


def model_name(model_id_or_path: str | None) -> str:
    """What `extra` calls a model: `smollm2_135m_instruct` for `org/SmolLM2-135M-Instruct`; empty for none."""
    given = (model_id_or_path or "").rstrip("/").rpartition("/")[2]
    for ending in (".gguf", ".safetensors"):
        given = given.removesuffix(ending)
    words = "".join(char if char.isalnum() else " " for char in given.lower()).split()
    return "_".join(words)


def is_model(name: str, key: str) -> bool:
    """Whether `key` stands for the model called `name`: `smollm2` does for `smollm2_135m_instruct`."""
    return bool(name) and (name == key or name.startswith(f"{key}_"))
