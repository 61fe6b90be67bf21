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
    f"{_ROOT}.pipeline.torch.common.recipe": "qairt.recipe",
    f"{_ROOT}.pipeline.torch.common.manifest": "qairt.engine.cache.manifest",
    f"{_ROOT}.pipeline.torch.common.cache": "qairt.engine.cache.cache",
    f"{_ROOT}.pipeline.torch.common.configs": "qairt.recipe.configs",
    f"{_ROOT}.pipeline.torch.common.observers.profiler_observer": "qairt.profiling.observer",
    f"{_ROOT}.pipeline.torch.common.bases.stage": "qairt.engine.stage",
    f"{_ROOT}.pipeline.torch.common.bases.stage_observer": "qairt.engine.observers",
}


class _Aliases(MetaPathFinder, Loader):
    """Finds the paths of `_ALIASES` and the empty packages above them."""

    def find_spec(
        self, fullname: str, path: Sequence[str] | None = None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        if fullname in _ALIASES:
            return ModuleSpec(fullname, self)
        if any(alias.startswith(fullname + ".") for alias in _ALIASES):
            return ModuleSpec(fullname, self, is_package=True)
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
        return getattr(home, name)

    def __dir__(self) -> list[str]:
        return dir(importlib.import_module(self._home))


__path__: list[str] = []  # makes this module a package, so that imports below it are looked up
if not any(isinstance(finder, _Aliases) for finder in sys.meta_path):
    sys.meta_path.append(_Aliases())
