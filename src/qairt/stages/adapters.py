"""The recipe's LoRA adapters, for every stage that needs them before anything runs."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from qairt.engine.stage import Env, KeyFacts
from qairt.errors import ModelError, QairtError, RecipeError
from qairt.files import read_text
from qairt.recipe.configs import LoRAFeatureConfig
from qairt.recipe.faults import combined
from qairt.stages.facts import model_of, settings_of

if TYPE_CHECKING:
    from qairt.model.lora.adapted import Adapter


def lora_of(env: Env) -> LoRAFeatureConfig | None:
    """The recipe's LoRA settings; None if no concurrency is built."""
    lora = settings_of(env).lora
    return lora if lora is not None and lora.concurrencies else None


def adapters_of(env: Env) -> dict[str, Adapter]:
    """Every adapter of the recipe, by name; headers only, read once.

    Raises:
        RecipeError: one is missing, damaged, not supported or of another model; names every such one.
    """
    lora = settings_of(env).lora
    return env.once("adapters", lambda: _read(env, lora)) if lora is not None else {}


def check_texts(env: Env) -> None:
    """Check that every concurrency has a text to be calibrated on.

    Raises:
        RecipeError: one is missing, empty or not UTF-8; names every such one.
    """
    settings, faults = settings_of(env), []
    for name, concurrency in settings.lora.concurrencies.items() if settings.lora is not None else ():
        setting, path = f"lora.concurrencies.{name}.calibration_dataset", Path(concurrency.calibration_dataset)
        missing = settings.missing_files.get(setting)
        try:
            if missing is not None and not path.is_file():
                raise RecipeError(missing.what, remedy=missing.remedy)
            if not read_text(path).strip():
                raise RecipeError(f"{path} is empty", remedy="use some pages of text of the kind it will process")
        except UnicodeDecodeError as error:
            what = f"{path} is not UTF-8 text: byte {error.start:,}"
            faults.append(RecipeError(what, where=setting, remedy="give a UTF-8 text file"))
        except OSError as error:
            faults.append(RecipeError(f"{path} cannot be read: {error.strerror}", where=setting, remedy=_A_TEXT))
        except RecipeError as error:
            faults.append(RecipeError(error.what, where=setting, remedy=error.remedy))
    if faults:
        raise combined(faults)


_A_TEXT = "give the path of an existing text file"


def check_values(env: Env) -> None:
    """Read every value of every adapter once.

    Raises:
        RecipeError: an adapter holds NaN or infinity; names the tensor.
    """
    faults = []
    for name, adapter in adapters_of(env).items():
        try:
            adapter.check_values()
        except ModelError as error:
            faults.append(_in_recipe(name, error))
    if faults:
        raise combined(faults)


def adapter_settings(env: Env, stage: str) -> KeyFacts:
    """Digests of what says how the adapters are applied; not of their values."""
    return tuple(
        (f"settings of the adapter {name}", env.digest(stage, adapter.files[0]))
        for name, adapter in adapters_of(env).items()
    )


def _read(env: Env, lora: LoRAFeatureConfig) -> dict[str, Adapter]:
    from qairt.model.lora.adapter import read_adapter

    config, found, faults = model_of(env).config, {}, []
    for name, stated in lora.adapters.items():
        try:
            found[name] = read_adapter(name, stated.path, config)
        except ModelError as error:
            faults.append(_in_recipe(name, error))
    if faults:
        raise combined(faults)
    return found


def _in_recipe(name: str, error: QairtError) -> RecipeError:
    """The error of an adapter's file at the setting that names it."""
    return RecipeError(f"{error.where}: {error.what}", where=f"lora.adapters.{name}.path", remedy=error.remedy)
