"""The dotted paths of the vendor's documentation, as aliases of the modules here.

`from qairt.experimental.pipeline.torch.common.recipe import Recipe` gives the very same class as
`from qairt.recipe import Recipe`. A path is an alias of a whole module; folders in between are empty packages.
"""

from __future__ import annotations

import importlib
import sys
from collections.abc import Sequence
from importlib.abc import Loader, MetaPathFinder
from importlib.machinery import ModuleSpec
from types import ModuleType

_ROOT = "qairt.experimental"
_ALIASES = {
    f"{_ROOT}.pipeline.torch.{path}": home
    for path, home in {
        "common.recipe": "qairt.recipe",
        "common.manifest": "qairt.engine.cache.manifest",
        "common.cache": "qairt.engine.cache.cache",
        "common.configs": "qairt.recipe.configs",
        "common.observers.profiler_observer": "qairt.profiling.observer",
        "common.bases.pipeline": "qairt.engine.pipeline",
        "common.bases.stage": "qairt.engine.stage",
        "common.bases.stage_observer": "qairt.engine.observers",
        "common.bases.stage_registry": "qairt.engine.stage",
        "llm.pipeline": "qairt.llm",
        "llm.lora.configs": "qairt.recipe.configs",
        "llm.generation.generator": "qairt.runtime.generator",
        "llm.quantization.recipes.registry": "qairt.stages.technique_registry",
        "llm.stages": "qairt.stages",
        "llm.stages.model_loading_stage": "qairt.stages.model_loading",
        "llm.stages.quantization_stage": "qairt.stages.quantization",
    }.items()
}
_OTHER_NAMES = {
    "LoRAUseCaseConfig": "LoRAConcurrencyConfig",
    "LLMGenerator": "Generator",
    "ModelLoadingStage": "ModelLoading",
    "QuantizationStage": "Quantization",
}
"""Documented names of classes, and their names here."""


class _Aliases(MetaPathFinder, Loader):
    """Finds the paths of `_ALIASES` and the empty packages above them."""

    def find_spec(
        self, fullname: str, path: Sequence[str] | None = None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        has_children = any(alias.startswith(fullname + ".") for alias in _ALIASES)
        if fullname in _ALIASES or has_children:
            return ModuleSpec(fullname, self, is_package=has_children)
        return None

    def create_module(self, spec: ModuleSpec) -> ModuleType | None:
        home = _ALIASES.get(spec.name)
        return _Alias(spec.name, home) if home else None

    def exec_module(self, module: ModuleType) -> None:
        """Nothing to run: an alias asks its home for each name, a package is empty."""


class _Alias(ModuleType):
    """A module whose names are those of another one."""

    def __init__(self, name: str, home: str) -> None:
        super().__init__(name, f"Alias of {home}.")
        self._home = home

    def __getattr__(self, name: str) -> object:
        home = importlib.import_module(self._home)
        if name == "__all__":  # what `from … import *` takes
            return getattr(home, name, [public for public in dir(home) if not public.startswith("_")])
        if name.startswith("__"):
            raise AttributeError(f"module {self.__name__!r} has no attribute {name!r}")
        other = _OTHER_NAMES.get(name, name)
        return getattr(home, name if hasattr(home, name) else other)

    def __dir__(self) -> list[str]:
        return dir(importlib.import_module(self._home))


__path__: list[str] = []  # makes this module a package, so that imports below it are looked up
if not any(isinstance(finder, _Aliases) for finder in sys.meta_path):
    sys.meta_path.append(_Aliases())
