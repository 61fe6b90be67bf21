"""Facts several stages ask for while they describe their work: the model's shape, the chip, the parts."""

from __future__ import annotations

from typing import TYPE_CHECKING

from qairt.engine.stage import Env
from qairt.errors import RecipeError

if TYPE_CHECKING:
    from qairt.model.describe import ModelDescription
    from qairt.stages.prepare_exports import PrepareExportsConfig
    from qairt.stages.settings import Settings
    from qairt.toolchain.soc import Soc


def settings_of(env: Env) -> Settings:
    settings: Settings = env.settings
    return settings


def has_model(env: Env) -> bool:
    """False when the recipe starts from a foreign ONNX."""
    return settings_of(env).model_id_or_path is not None


def model_of(env: Env) -> ModelDescription:
    """The model's description, from its header.

    Raises:
        ModelError: it is missing, damaged or of an unknown architecture.
        RecipeError: the recipe names none.
    """
    from qairt.model.describe import describe_model

    path = settings_of(env).model_id_or_path
    if path is None:
        raise RecipeError(
            "the recipe names no model",
            where="model_id_or_path",
            remedy="set model_id_or_path to a Hugging Face folder, a GGUF file or an id",
        )
    description: ModelDescription = env.once("model", lambda: describe_model(path))
    return description


def soc_of(env: Env) -> Soc:
    """The chip to compile for.

    Raises:
        RecipeError: it is unknown; lists the known ones.
    """
    from qairt.toolchain.soc import parse_soc

    soc: Soc = env.once("soc", lambda: parse_soc(settings_of(env).soc_details))
    return soc


def prepare_config(env: Env) -> PrepareExportsConfig:
    """The settings of `prepare_exports`: auto-regressive and context lengths."""
    config: PrepareExportsConfig = env.configs["prepare_exports"]  # type: ignore[assignment]
    return config
