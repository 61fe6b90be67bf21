"""Keys of earlier releases, read for one more: one table of prefixes, applied once when a recipe is loaded.

Source: the old names and their new places are those of seed 003.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from qairt.recipe.output_settings import model_name
from qairt.recipe.recipe import Recipe
from qairt.recipe.source import KeyPath

_STAGE = "torch_profiler"
_OUTPUT = ("stages", _STAGE, "output")
_MODEL = "<model>"

PREFIXES: tuple[tuple[KeyPath, KeyPath], ...] = (
    (("pipeline",), ("stages",)),
    *(
        ((top, *old), (*_OUTPUT, *new))
        for top in ("output", "outputs")
        for old, new in (
            (("save_predictions",), ("prediction", "enable")),
            (
                ("predictions", "strip_special_tokens"),
                ("extra", _MODEL, "prediction", "strip_special_tokens"),
            ),
            (("visualization", "max_images"), ("extra", _MODEL, "visualization", "max_images")),
            (("visualization", "thumbnail_width"), ("extra", _MODEL, "visualization", "thumbnail_width")),
            (("predictions",), ("prediction",)),
            ((), ()),
        )
    ),
)
"""Old and new; the first that fits counts."""


@dataclass(frozen=True)
class OldKey:
    """One value that stood under an old key."""

    old: KeyPath
    new: KeyPath
    where: str
    """`file:line` or `command line`."""
    value: Any
    kept: Any = None
    """What the new key (or a newer old one) says, which holds; None where none said anything."""
    kept_where: str = ""
    no_stage: bool = False
    """Its stage is not in the recipe: it has no effect."""

    @property
    def overruled(self) -> bool:
        """The new key is there too and says something else."""
        return bool(self.kept_where) and self.kept != self.value and self.value not in ({}, None)

    def __str__(self) -> str:
        said = f"{'.'.join(self.old)} ({self.where}) is now {'.'.join(self.new)}"
        if self.no_stage:
            return f"{said}, and has no effect: the recipe has no stage {self.new[1]}"
        if self.overruled:
            return f"{said}, which holds: it says {_text(self.kept)} ({self.kept_where}), not {_text(self.value)}"
        return said


def old_keys(recipe: Recipe) -> list[OldKey]:
    """The values under old keys, in the order of the recipe; nothing is changed."""
    stages = recipe.get("stages")
    known = set(map(str, stages)) if isinstance(stages, Mapping) else set()
    pipeline = recipe.get("pipeline")
    known |= set(map(str, pipeline)) if isinstance(pipeline, Mapping) else set()
    model = model_name(recipe.get("model_id_or_path")) or "model"
    found = []
    placed: dict[KeyPath, tuple[Any, str]] = {}
    for top in dict.fromkeys(old[0] for old, _ in PREFIXES):
        for path, value in _leaves(recipe.get(top), (top,)) if top in recipe else ():
            new = _new_place(path, model)
            there = recipe.at(new, _ABSENT)
            no_stage = len(new) > 1 and new[1] not in known
            kept, kept_where = placed.get(new, (None, "")) if there is _ABSENT else (there, recipe.where(new))
            found.append(OldKey(path, new, recipe.where(path), value, kept, kept_where, no_stage))
            placed.setdefault(new, (value, recipe.where(path)))
    return found


def apply_old_keys(recipe: Recipe) -> list[OldKey]:
    """Move what stands under old keys to its new place; where the new key is there too, it holds.

    Returns:
        What was found.

    Raises:
        RecipeError: a new place is inside something that is no mapping.
    """
    found = old_keys(recipe)
    for key in found:
        value = recipe.take(key.old)
        if not (key.kept_where or key.no_stage):
            recipe.put(key.new, value, like=key.old)
    return found


def told(keys: Sequence[OldKey], recipe: Recipe) -> str:
    """One sentence that names every old key and its new place."""
    rewritten = f"; `qairt migrate {recipe.source}` rewrites them" if recipe.source else ""
    return f"old keys, read for this release only{rewritten}: {'; '.join(map(str, keys))}"


_ABSENT: Any = object()


def _leaves(value: Any, path: KeyPath) -> Iterator[tuple[KeyPath, Any]]:
    if isinstance(value, Mapping) and value:
        for key, inner in value.items():
            yield from _leaves(inner, (*path, str(key)))
    else:
        yield path, value


def _new_place(path: KeyPath, model: str) -> KeyPath:
    old, new = next(pair for pair in PREFIXES if path[: len(pair[0])] == pair[0])
    return tuple(model if step == _MODEL else step for step in (*new, *path[len(old) :]))


def _text(value: Any) -> str:
    return str(value).lower() if isinstance(value, bool) or value is None else str(value)
