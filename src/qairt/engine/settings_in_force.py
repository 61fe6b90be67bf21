"""The settings in force: every value, where it comes from, and whether the last run had another one."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Literal

from pydantic import BaseModel, ValidationError

from qairt.engine.assembly import stage_config
from qairt.engine.plan.origin import settings_file
from qairt.errors import QairtError
from qairt.keys import canonical
from qairt.recipe.file_settings import make_files_absolute
from qairt.recipe.places import COMMAND_LINE
from qairt.recipe.presets import OutputPresets
from qairt.recipe.recipe import Recipe
from qairt.recipe.source import KeyPath

if TYPE_CHECKING:
    from qairt.engine.pipeline import Pipeline
    from qairt.engine.stage import AnyStage

Source = Literal["file", "command line", "default", "preset"]


@dataclass(frozen=True)
class RecipeValue:
    """A setting, or a group of them."""

    path: KeyPath
    text: str = ""
    """Its value as it would be written in a recipe; empty for a group."""
    source: Source = "default"
    where: str = ""
    """`file:line`, `command line` or `default`."""
    differs: bool = False
    """Whether the last run over this cache directory had another value; of a group, whether anything in it differs."""
    before: str = ""
    """The value in the last run."""
    children: tuple[RecipeValue, ...] = ()

    @property
    def key(self) -> str:
        return self.path[-1] if self.path else ""

    @property
    def assignment(self) -> str:
        """The command-line form: `stages.split_model.num_splits=3`."""
        name = ".".join(f'"{step}"' if "." in step else step for step in self.path)
        return name if self.children and not self.text else f"{name}={self.text}"

    def walk(self) -> Iterator[RecipeValue]:
        """This value and everything in it, in order."""
        yield self
        for child in self.children:
            yield from child.walk()


def recipe_values(pipeline: Pipeline) -> RecipeValue:
    """The settings of `pipeline`, then its stages with theirs; empty defaults are left out."""
    recipe = pipeline.recipe
    last = _recipe_of_last_run(pipeline)
    values = _Values(recipe, last)
    settings = pipeline.settings
    groups = values.of_model(settings, _last_settings(settings, last), ()) if settings is not None else []
    presets = OutputPresets(last) if last is not None else None
    stages = []
    for stage in pipeline.configured_stages:
        path = ("stages", stage.name)
        added = last is not None and last.at(path, _ABSENT) is _ABSENT
        before = _last_config(stage, last, presets) if last is not None and presets is not None else None
        children = values.of_model(stage.config, before, path)
        stages.append(_group(path, children, recipe.where(path), changed=added))
    groups.append(_group(("stages",), stages, recipe.where(("stages",))))
    return _group((), groups, str(recipe.source or ""))


_ABSENT = object()


class _Values:
    """Turns configurations into values."""

    def __init__(self, recipe: Recipe, last: Recipe | None) -> None:
        self._recipe = recipe
        self._last = last

    def of_model(self, now: BaseModel, before: BaseModel | None, path: KeyPath) -> list[RecipeValue]:
        found: list[RecipeValue] = []
        for name in sorted(type(now).model_fields, key=lambda name: name == "output"):
            if path or name != "stages":
                old = getattr(before, name) if before is not None else _ABSENT
                found += self._value(getattr(now, name), old, (*path, name))
        file = getattr(now, "recipe", None)
        if len(path) == 2 and isinstance(file, str):
            found = [self._with_file(value, file, before) if value.key == "recipe" else value for value in found]
        return found

    def _value(self, now: object, before: object, path: KeyPath) -> list[RecipeValue]:
        if isinstance(now, BaseModel):
            children = self.of_model(now, before if isinstance(before, type(now)) else None, path)
            return [_group(path, children, self._recipe.where(path))] if children else []
        if isinstance(now, Mapping) and now:
            children = self._inside(now, dict(before) if isinstance(before, Mapping) else {}, before, path)
            return [_group(path, children, self._recipe.where(path))] if children else []
        if isinstance(now, Sequence) and any(isinstance(each, (Mapping, BaseModel)) for each in now):
            items: dict[object, object] = dict(enumerate(now))
            old: dict[object, object] = dict(enumerate(before)) if isinstance(before, Sequence) else {}
            return [_group(path, self._inside(items, old, before, path), self._recipe.where(path))]
        return self._leaf(now, before, path)

    def _inside(
        self, now: Mapping[object, object], old: Mapping[object, object], before: object, path: KeyPath
    ) -> list[RecipeValue]:
        return [
            child
            for key, value in now.items()
            for child in self._value(value, old.get(key) if before is not _ABSENT else _ABSENT, (*path, str(key)))
        ]

    def _leaf(self, now: object, before: object, path: KeyPath) -> list[RecipeValue]:
        differs = before is not _ABSENT and _plain(before) != _plain(now) and not self._same_in_recipes(path)
        preset = self._recipe.preset_origin(path) or ""
        where = preset or self._nearest_origin(path)
        if not where and not differs and (now is None or now == {} or now == []):
            return []
        source: Source = "default" if not where else "command line" if where == COMMAND_LINE else "file"
        return [
            RecipeValue(
                path=path,
                text=_text(self._recipe.as_written(path, now)),
                source="preset" if preset else source,
                where=where or "default",
                differs=differs,
                before=_text(before if self._last is None else self._last.as_written(path, before)) if differs else "",
            )
        ]

    def _same_in_recipes(self, path: KeyPath) -> bool:
        """Whether both recipes set the same, though the settings differ: a file name as it was written, for example."""
        if self._last is None:
            return False
        written = [recipe.as_written(path, recipe.at(path, _ABSENT)) for recipe in (self._recipe, self._last)]
        return written[0] is not _ABSENT and written[0] == written[1]

    def _nearest_origin(self, path: KeyPath) -> str:
        """Where this value, or the value around it, was written; a stage as a whole does not set its settings."""
        least = 2 if path[0] == "stages" else 0
        for count in range(len(path), least, -1):
            where = self._recipe.origin(path[:count])
            if where:
                # a key that a mapping leaves out is a default; a value that is written as one word sets all it means
                sets = count == len(path) or not isinstance(self._recipe.at(path[:count]), Mapping)
                return where if sets else ""
        return ""

    def _with_file(self, value: RecipeValue, file: str, before: BaseModel | None) -> RecipeValue:
        """The setting that names a file of settings, with the file's settings below it."""
        settings = settings_file(file)
        if settings is None:
            return value
        old = settings_file(str(getattr(before, "recipe", ""))) if before is not None else None
        return replace(value, children=tuple(_of_file(settings, old, settings, (), value.path[:2])))


def _of_file(
    now: Mapping[str, object], before: object, settings: Recipe, steps: KeyPath, stage: KeyPath
) -> Iterator[RecipeValue]:
    for key, value in now.items():
        inner = (*steps, str(key))
        old = before.get(key) if isinstance(before, Mapping) else None
        path = (*stage, "technique", *inner)
        where = settings.origin(inner) or ""
        if isinstance(value, Mapping):
            yield _group(path, list(_of_file(value, old, settings, inner, stage)), where)
        else:
            differs = before is not None and old != value
            yield RecipeValue(path, _text(value), "preset", where, differs, _text(old) if differs else "")


def _group(path: KeyPath, children: list[RecipeValue], where: str, *, changed: bool = False) -> RecipeValue:
    differs = changed or any(child.differs for child in children)
    return RecipeValue(path=path, source="file", where=where, differs=differs, children=tuple(children))


def _recipe_of_last_run(pipeline: Pipeline) -> Recipe | None:
    """The recipe of the last run over this cache directory."""
    try:
        return Recipe.from_file(pipeline.state_folder / "recipe.yaml")
    except (QairtError, OSError):
        return None


def _last_settings(settings: BaseModel, last: Recipe | None) -> BaseModel | None:
    """The settings of the last run; None where there was none, or of another version."""
    if last is None:
        return None
    try:
        make_files_absolute(last, (), type(settings))
    except QairtError:
        return None
    return _validated(type(settings), dict(last))


def _last_config(stage: AnyStage, last: Recipe, presets: OutputPresets) -> BaseModel | None:
    """The settings of a stage in the last run; None where it had no such stage, or of another version."""
    values = last.at(("stages", stage.name), _ABSENT)
    if values is _ABSENT:
        return None
    try:
        return stage_config(last, presets, type(stage))
    except QairtError:
        return _validated(type(stage.config), values or {})


def _validated(model: type[BaseModel], values: object) -> BaseModel | None:
    try:
        return model.model_validate(values)
    except ValidationError:  # of another version: nothing to compare with
        return None


def _plain(value: object) -> object:
    return value.model_dump(mode="json") if isinstance(value, BaseModel) else canonical(value)


def _text(value: object) -> str:
    if isinstance(value, str):
        return value
    return canonical(value.model_dump(mode="json") if isinstance(value, BaseModel) else value)
