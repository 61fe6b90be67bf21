"""The LoRA concurrencies of a recipe: which adapters each has, their digests, and the shape that fits all of them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from qairt import keys
from qairt.engine.stage import Env, KeyFacts
from qairt.recipe.configs import BASE, LoRAFeatureConfig
from qairt.stages.adapters import adapters_of, lora_of
from qairt.stages.facts import has_model, model_of

if TYPE_CHECKING:
    from pydantic import JsonValue

    from qairt.model.lora.adapted import Adapter
    from qairt.model.lora.shape import LoraShape


@dataclass(frozen=True)
class Concurrencies:
    """Which adapters of a recipe are active together."""

    settings: LoRAFeatureConfig
    adapters: Mapping[str, Adapter]
    """Those that a concurrency uses."""
    shape: LoraShape
    by_hand: dict[str, tuple[str, Mapping[str, float]]] = field(default_factory=dict)
    """Strengths that a command asks for, by the name they go by: the concurrency they change, and all of them."""

    @property
    def names(self) -> list[str]:
        """In the order of their coordinates: the base is 0."""
        return [BASE, *self.settings.concurrencies]

    def strengths(self, concurrency: str) -> dict[str, float]:
        """The adapters of a concurrency, each with its strength."""
        if concurrency == BASE:
            return {}
        if concurrency in self.by_hand:
            return dict(self.by_hand[concurrency][1])
        found = self.settings.concurrencies[concurrency]
        return dict(zip(found.adapters, found.lora_scaling, strict=True))

    def all_strengths(self, concurrency: str) -> dict[str, float]:
        """The strength of every adapter that the graphs hold, 0 where the concurrency has it not."""
        return {name: self.strengths(concurrency).get(name, 0.0) for name in self.shape.adapters}

    def text(self, concurrency: str) -> Path:
        """What a concurrency is calibrated on; that of its first adapter where the base's strengths were changed."""
        changed = self.by_hand[concurrency][0] if concurrency in self.by_hand else concurrency
        known = self.settings.concurrencies
        if changed not in known:
            first = next(iter(self.strengths(concurrency)))
            changed = next(name for name, each in known.items() if first in each.adapters)
        return Path(known[changed].calibration_dataset)


def concurrencies_of(env: Env) -> Concurrencies | None:
    """None if the recipe has none.

    Raises:
        RecipeError: an adapter is missing, damaged or of another model; names it.
        ModelError: it changes a linear that cannot have a branch.
    """
    settings = lora_of(env)
    if settings is None or not has_model(env):
        return None
    return env.once("concurrencies", lambda: _read(settings, env))


def _read(settings: LoRAFeatureConfig, env: Env) -> Concurrencies:
    from qairt.model.lora.shape import shape_of

    known = adapters_of(env)
    used = dict.fromkeys(name for each in settings.concurrencies.values() for name in each.adapters)
    adapters = {name: known[name] for name in used}
    together = [each.adapters for each in settings.concurrencies.values()]
    ranks = {name: adapter.ranks for name, adapter in adapters.items()}
    shape = shape_of(model_of(env).config, together, ranks, hot_switch=settings.form == "hot_switch")
    return Concurrencies(settings, adapters, shape)


def shape_facts(env: Env, stage: str) -> KeyFacts:
    """What the keys of graphs, from `stage` on, contain of a recipe's adapters: their shape, and their values only with
    hot switch."""
    found = concurrencies_of(env)
    if found is None:
        return ()
    facts = (("lora", found.shape.model_dump_json()), ("quant_updatable_mode", found.settings.quant_updatable_mode))
    values = [(f"adapter {name}", adapter_digest(env, stage, found.adapters[name])) for name in found.shape.adapters]
    return (*facts, *values)


def adapter_digest(env: Env, stage: str, adapter: Adapter) -> str:
    """A digest of the adapter's files, which `stage` reads."""
    return keys.digest([(path.name, env.digest(stage, path)) for path in adapter.files])


def described(env: Env, stage: str, concurrencies: Concurrencies, concurrency: str) -> dict[str, JsonValue]:
    """A concurrency as plain data for a task."""
    active: list[JsonValue] = [
        {"name": name, "digest": adapter_digest(env, stage, concurrencies.adapters[name]), "strength": strength}
        for name, strength in concurrencies.strengths(concurrency).items()
    ]
    return {"name": concurrency, "adapters": active}


def adapter_paths(concurrencies: Concurrencies, concurrency: str) -> dict[str, Path]:
    """The adapters of a concurrency, for `Task.paths`; the keys are `adapter NAME`."""
    return {f"adapter {name}": concurrencies.adapters[name].path for name in concurrencies.strengths(concurrency)}


def text_paths(concurrencies: Concurrencies) -> dict[str, Path]:
    """The calibration texts, for `Task.paths`; the keys are `text CONCURRENCY`."""
    return {f"text {name}": concurrencies.text(name) for name in concurrencies.settings.concurrencies}
