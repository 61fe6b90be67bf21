"""Keys of earlier releases, supported for one more: one table of prefixes, applied once when a recipe is loaded.

Source: the old names and their new places are those of the vendor's pipelines.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from qairt.recipe.output_settings import model_name
from qairt.recipe.places import ABSENT, leaves
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
"""Old prefix and new one; the first match applies."""


@dataclass(frozen=True)
class OldKey:
    """A value under an old key."""

    old: KeyPath
    new: KeyPath
    where: str
    """`file:line` or `command line`."""
    value: object
    kept: object = None
    """The value that takes precedence: of the new key, or of an old key that comes first."""
    kept_where: str = ""
    """Where that value was written; empty if there is none."""
    no_stage: bool = False
    """Its stage is not in the recipe, so it has no effect."""

    @property
    def overruled(self) -> bool:
        """Whether another value takes precedence."""
        return bool(self.kept_where) and self.kept != self.value and self.value not in ({}, None)

    def __str__(self) -> str:
        moved = f"{'.'.join(self.old)} ({self.where}) is now {'.'.join(self.new)}"
        if self.no_stage:
            return f"{moved} and has no effect: the recipe has no stage {self.new[1]}"
        if self.overruled:
            set_to = f"which is set to {_text(self.kept)} ({self.kept_where})"
            return f"{moved}, {set_to}: {_text(self.value)} is ignored"
        return moved


def old_keys(recipe: Recipe) -> list[OldKey]:
    """The values under old keys, in the order of the recipe."""
    stages = recipe.get("stages")
    known = set(map(str, stages)) if isinstance(stages, Mapping) else set()
    pipeline = recipe.get("pipeline")
    known |= set(map(str, pipeline)) if isinstance(pipeline, Mapping) else set()
    model = model_name(recipe.get("model_id_or_path")) or "model"
    found = []
    first: dict[KeyPath, tuple[object, str]] = {}
    for top in dict.fromkeys(old[0] for old, _ in PREFIXES):
        for path, value in leaves(recipe.get(top), (top,)) if top in recipe else ():
            new = _new_path(path, model)
            present = recipe.at(new, ABSENT)
            no_stage = len(new) > 1 and new[1] not in known
            kept, kept_where = first.get(new, (None, "")) if present is ABSENT else (present, recipe.where(new))
            found.append(OldKey(path, new, recipe.where(path), value, kept, kept_where, no_stage))
            first.setdefault(new, (value, recipe.where(path)))
    return found


def apply_old_keys(recipe: Recipe) -> list[OldKey]:
    """Move the values under old keys to their new keys; a value under the new key takes precedence.

    Returns:
        The old keys.

    Raises:
        RecipeError: a new key is inside a value that is not a mapping.
    """
    found = old_keys(recipe)
    for key in found:
        value = recipe.take(key.old)
        if not (key.kept_where or key.no_stage):
            recipe.put(key.new, value, like=key.old)
    return found


def format_old_keys(keys: Sequence[OldKey], recipe: Recipe) -> str:
    """One sentence that names every old key and its new one."""
    migrate = f"; `qairt migrate {recipe.source}` updates the file" if recipe.source else ""
    return f"old keys, supported in this release only{migrate}: {'; '.join(map(str, keys))}"


def _new_path(path: KeyPath, model: str) -> KeyPath:
    old, new = next(pair for pair in PREFIXES if path[: len(pair[0])] == pair[0])
    return tuple(model if step == _MODEL else step for step in (*new, *path[len(old) :]))


def _text(value: object) -> str:
    return str(value).lower() if isinstance(value, bool) or value is None else str(value)
