"""Techniques of the vendor's recipes: whether qairt has one, and the nearest one where it has not."""

from __future__ import annotations

from pathlib import Path

from qairt.recipe.files import FileSearch, RecipeFile, shipped_recipes
from qairt.recipe.names import nearest
from qairt.recipe.recipe import Recipe

_BY_METHOD = {
    "adascale": "lpbq_learned",
    "adaround": "lpbq_learned",
    "omniquant": "lpbq_learned",
    "spinquant": "lpbq_rotated",
    "rotat": "lpbq_rotated",
    "gptq": "lpbq_gptq",
    "seqmse": "lpbq_seqmse",
    "distill": "lpbq_distilled",
    "pcq": "minmax",
    "w8": "minmax",
}
"""Part of a technique's name, and the technique here that does the most similar thing."""


def lacking_technique(recipe: Recipe, name: object) -> str:
    """The nearest technique for one that does not exist; empty if it does."""
    if not isinstance(name, str) or not name:
        return ""
    file = name if name.endswith((".yaml", ".yml")) else f"{name}.yaml"
    beside = recipe.source.parent if recipe.source else None
    if FileSearch(file, RecipeFile(folder="quantization"), beside).find() is not None:
        return ""
    by_method = next((technique for part, technique in _BY_METHOD.items() if part in name.lower()), None)
    known = sorted(path.stem for path in (shipped_recipes() / "quantization").glob("*.yaml"))
    return by_method or nearest(Path(name).stem, known) or "balanced"
