"""The supported families of decoders, one file each, and the error for any other.

A file of this package that defines `FAMILY` is a family; nothing else lists them.
"""

from __future__ import annotations

from collections.abc import Callable
from importlib import import_module
from pkgutil import iter_modules

from qairt.errors import ModelError
from qairt.model.families.family import Family
from qairt.model.families.unsupported import missing_feature


def _families() -> dict[str, Family]:
    modules = (import_module(f"{__name__}.{found.name}") for found in iter_modules(__path__))
    found: list[Family] = [module.FAMILY for module in modules if hasattr(module, "FAMILY")]
    return {family.name: family for family in sorted(found, key=lambda family: family.name)}


FAMILIES: dict[str, Family] = _families()
"""By `model_type`, in alphabetical order."""


def unknown_architecture(
    name: str, where: str, model_type: str = "", get: Callable[[str], object] = lambda key: None
) -> ModelError:
    """The error for an unsupported model, with the feature that it would need where that is known.

    Args:
        get: the value of a key of its configuration; None if it has none.
    """
    feature = missing_feature(name, model_type, get)
    why = f": it needs {feature}" if feature else ""
    return ModelError(
        f"architecture {name!r} is not supported{why}",
        where=where,
        remedy=f"use a model of a supported family (see `qairt models`): {', '.join(FAMILIES)}",
    )
