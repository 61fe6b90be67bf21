"""The LoRA adapters of a recipe, as stages see them: names, digests and shapes, before anything runs."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from qairt import keys
from qairt.engine.stage import Env, KeyFacts
from qairt.model.lora.concurrency import BASE
from qairt.recipe.files import is_path
from qairt.stages.facts import has_model, model_of, settings_of

if TYPE_CHECKING:
    from pydantic import JsonValue

    from qairt.model.lora.adapted import Adapter
    from qairt.model.lora.shape import LoraShape
    from qairt.recipe.configs import LoRAFeatureConfig


@dataclass(frozen=True)
class Lora:
    """The adapters of a recipe that has concurrencies."""

    settings: LoRAFeatureConfig
    adapters: Mapping[str, Adapter]
    """Those that a concurrency uses."""
    shape: LoraShape

    @property
    def concurrencies(self) -> list[str]:
        """In the order of their coordinates: the base is 0."""
        return [BASE, *self.settings.concurrencies]

    def strengths(self, concurrency: str) -> dict[str, float]:
        """The adapters of a concurrency, each with its strength."""
        if concurrency == BASE:
            return {}
        found = self.settings.concurrencies[concurrency]
        return dict(zip(found.adapters, found.lora_scaling, strict=True))


def lora_of(env: Env) -> Lora | None:
    """None if the recipe has no concurrencies.

    Raises:
        ModelError: an adapter is missing or damaged, or is not one of this model; names it.
    """
    settings = settings_of(env).lora
    if settings is None or not settings.concurrencies or not has_model(env):
        return None
    return env.once("LoRA adapters", lambda: _read(settings, env))


def _read(settings: LoRAFeatureConfig, env: Env) -> Lora:
    from qairt.model.lora.adapter import read_adapter
    from qairt.model.lora.shape import shape_of

    config = model_of(env).config
    used = dict.fromkeys(name for each in settings.concurrencies.values() for name in each.adapters)
    adapters = {name: read_adapter(name, settings.adapters[name].path, config) for name in used}
    together = [each.adapters for each in settings.concurrencies.values()]
    ranks = {name: adapter.ranks for name, adapter in adapters.items()}
    return Lora(settings, adapters, shape_of(config, together, ranks, getattr(settings, "form", "inputs")))


def shape_facts(env: Env) -> KeyFacts:
    """What the keys of graphs contain of a recipe's adapters: their shape, not their values."""
    lora = lora_of(env)
    if lora is None:
        return ()
    return (("lora", lora.shape.model_dump_json()), ("quant_updatable_mode", lora.settings.quant_updatable_mode))


def adapter_digest(env: Env, stage: str, adapter: Adapter) -> str:
    """A digest of the adapter's files, which `stage` reads."""
    return keys.digest([(path.name, env.digest(stage, path)) for path in adapter.files])


def described(env: Env, stage: str, lora: Lora, concurrency: str) -> dict[str, JsonValue]:
    """A concurrency as plain data for a task."""
    active: list[JsonValue] = [
        {"name": name, "digest": adapter_digest(env, stage, lora.adapters[name]), "strength": strength}
        for name, strength in lora.strengths(concurrency).items()
    ]
    return {"name": concurrency, "adapters": active}


def adapter_paths(lora: Lora, concurrency: str) -> dict[str, Path]:
    """The adapters of a concurrency, for `Task.paths`; the keys are `adapter NAME`."""
    return {f"adapter {name}": lora.adapters[name].path for name in lora.strengths(concurrency)}


def dataset_paths(lora: Lora) -> dict[str, Path]:
    """The calibration texts that are files, for `Task.paths`; the keys are `text CONCURRENCY`."""
    texts = {name: each.calibration_dataset for name, each in lora.settings.concurrencies.items()}
    return {f"text {name}": Path(text) for name, text in texts.items() if is_path(text) or Path(text).is_file()}
