"""The RECIPE argument: a path, or the name of a recipe that comes with qairt."""

from __future__ import annotations

import gc
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from qairt.recipe.find import find_recipe, shipped_by_name

if TYPE_CHECKING:
    from qairt.llm import LLMPipeline


def is_recipe(word: str) -> bool:
    """Whether a word means a recipe where it could also be a stage: a YAML file, or the name of one that ships."""
    return word.endswith((".yaml", ".yml")) or Path(word).is_file() or word in shipped_by_name()


def open_pipeline(recipe: str, overrides: Sequence[str] | None = None, cache_dir: Path | None = None) -> LLMPipeline:
    """The pipeline of a recipe, with overrides from the command line.

    Raises:
        RecipeError: lists every fault with its line and the nearest valid name.
        ContractViolation: the order of the stages cannot work.
    """
    path = find_recipe(recipe)
    with _without_collecting():
        from qairt.llm import LLMPipeline

    return LLMPipeline.from_recipe(path, overrides or (), cache_dir=cache_dir)


@contextmanager
def _without_collecting() -> Iterator[None]:
    """Import without garbage collection: what is loaded stays, and looking through it is a tenth of the time."""
    was_enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_enabled:
            gc.freeze()
            gc.enable()
