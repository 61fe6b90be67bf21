"""The recipe as it holds: every value with where it comes from, and whether the last run had another one."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from pydantic import BaseModel, ValidationError

from qairt.engine.plan.origin import preset_of
from qairt.errors import QairtError
from qairt.keys import canonical
from qairt.recipe.places import COMMAND_LINE
from qairt.recipe.presets import OutputPresets
from qairt.recipe.recipe import Recipe
from qairt.recipe.source import KeyPath

if TYPE_CHECKING:
    from qairt.engine.pipeline import Pipeline

Source = Literal["file", "command line", "default", "preset"]


@dataclass(frozen=True)
class RecipeValue:
    """A setting, or a group of them."""

    path: KeyPath
    text: str = ""
    """Its value as in a recipe; empty for a group."""
    source: Source = "default"
    where: str = ""
    """`file:line`, `command line` or `default`."""
    differs: bool = False
    """Whether the last run over this cache directory had another value, or, of a group, something in it."""
    before: str = ""
    """That other value."""
    children: tuple[RecipeValue, ...] = ()

    @property
    def key(self) -> str:
        return self.path[-1] if self.path else ""

    @property
    def assignment(self) -> str:
        """As the command line takes it: `stages.split_model.num_splits=3`."""
        name = ".".join(f'"{step}"' if "." in step else step for step in self.path)
        return name if self.children and not self.text else f"{name}={self.text}"

    def walk(self) -> Iterator[RecipeValue]:
        """This one and everything in it, in order."""
        yield self
        for child in self.children:
            yield from child.walk()


def recipe_values(pipeline: Pipeline) -> RecipeValue:
    """The settings of `pipeline`, then its stages with theirs; defaults that are empty are left out."""
    recipe = pipeline.recipe
    last = _last(pipeline)
    maker = _Maker(recipe, last)
    settings = pipeline.settings
    groups: list[RecipeValue] = []
    if isinstance(settings, BaseModel):
        then = _validated(type(settings), dict(last)) if last is not None else None
        groups += maker.fields(settings, then, ())
    stages = []
    presets = OutputPresets(last) if last is not None else None
    for stage in pipeline.configured_stages:
        path = ("stages", stage.name)
        held = last.at(path, _ABSENT) if last is not None else _ABSENT
        then = None
        if presets is not None and held is not _ABSENT:
            then = _validated(type(stage.config), _mounted(presets, stage.name, held))
        children = maker.fields(stage.config, then, path)
        added = last is not None and held is _ABSENT
        stages.append(_group(path, children, recipe.where(path), changed=added))
    groups.append(_group(("stages",), stages, recipe.where(("stages",))))
    return _group((), groups, str(recipe.source or ""))


_ABSENT: Any = object()


class _Maker:
    """Makes values out of configurations."""

    def __init__(self, recipe: Recipe, last: Recipe | None) -> None:
        self._recipe = recipe
        self._last = last

    def fields(self, now: BaseModel, then: BaseModel | None, path: KeyPath) -> list[RecipeValue]:
        found = []
        for name in sorted(type(now).model_fields, key=lambda name: name == "output"):
            if path or name != "stages":
                before = getattr(then, name) if then is not None else _ABSENT
                found += self._value(getattr(now, name), before, (*path, name))
        preset = getattr(now, "recipe", None)
        if len(path) == 2 and isinstance(preset, str):
            found = [self._with_preset(value, preset, then) if value.key == "recipe" else value for value in found]
        return found

    def _value(self, now: Any, before: Any, path: KeyPath) -> list[RecipeValue]:
        if isinstance(now, BaseModel):
            children = self.fields(now, before if isinstance(before, type(now)) else None, path)
            return [_group(path, children, self._recipe.where(path))] if children else []
        if isinstance(now, Mapping) and now:
            old = before if isinstance(before, Mapping) else {}
            children = [
                child
                for key, value in now.items()
                for child in self._value(value, old.get(key) if before is not _ABSENT else _ABSENT, (*path, str(key)))
            ]
            return [_group(path, children, self._recipe.where(path))] if children else []
        if isinstance(now, Sequence) and any(isinstance(each, (Mapping, BaseModel)) for each in now):
            old_list = list(before) if isinstance(before, Sequence) else []
            old_list += [None] * (len(now) - len(old_list))
            children = [
                child
                for place, value in enumerate(now)
                for child in self._value(
                    value, old_list[place] if before is not _ABSENT else _ABSENT, (*path, str(place))
                )
            ]
            return [_group(path, children, self._recipe.where(path))]
        return self._leaf(now, before, path)

    def _leaf(self, now: Any, before: Any, path: KeyPath) -> list[RecipeValue]:
        differs = before is not _ABSENT and _plain(before) != _plain(now) and not self._written_alike(path)
        preset = self._recipe.preset_origin(path) or ""
        where = preset or self._around(path)
        if not where and not differs and (now is None or now == {} or now == []):
            return []
        source: Source = "default" if not where else "command line" if where == COMMAND_LINE else "file"
        source = "preset" if preset else source
        return [
            RecipeValue(
                path=path,
                text=_text(now),
                source=source,
                where=where or "default",
                differs=differs,
                before=_text(before) if differs else "",
            )
        ]

    def _written_alike(self, path: KeyPath) -> bool:
        """Both recipes hold the same there: a file's name, which the settings keep as it was given."""
        held = self._recipe.at(path, _ABSENT)
        return self._last is not None and held is not _ABSENT and held == self._last.at(path, _ABSENT)

    def _around(self, path: KeyPath) -> str:
        """Where this value, or the value that holds it, is written; a stage as a whole says nothing of its settings."""
        least = 2 if path[0] == "stages" else 0
        for count in range(len(path), least, -1):
            where = self._recipe.origin(path[:count])
            if where:
                # what a mapping does not say is a default; what a word stands for is not
                said = count == len(path) or not isinstance(self._recipe.at(path[:count]), Mapping)
                return where if said else ""
        return ""

    def _with_preset(self, value: RecipeValue, name: str, then: BaseModel | None) -> RecipeValue:
        """The setting that names a file of settings, with those of the file below it."""
        stage = value.path[1]
        preset = preset_of(self._recipe, stage, name)
        if preset is None:
            return value
        before = preset_of(self._recipe, stage, str(getattr(then, "recipe", ""))) if then is not None else None
        return RecipeValue(
            path=value.path,
            text=value.text,
            source=value.source,
            where=value.where,
            differs=value.differs,
            before=value.before,
            children=tuple(_of_preset(preset, before, preset, (), value.path[:2])),
        )


def _of_preset(now: Any, before: Any, preset: Recipe, steps: KeyPath, stage: KeyPath) -> Iterator[RecipeValue]:
    for key, value in now.items():
        inner = (*steps, str(key))
        old = before.get(key) if isinstance(before, Mapping) else None
        path = (*stage, "technique", *inner)
        where = preset.origin(inner) or ""
        if isinstance(value, Mapping):
            yield _group(path, list(_of_preset(value, old, preset, inner, stage)), where)
        else:
            differs = before is not None and old != value
            yield RecipeValue(path, _text(value), "preset", where, differs, _text(old) if differs else "")


def _group(path: KeyPath, children: list[RecipeValue], where: str, *, changed: bool = False) -> RecipeValue:
    differs = changed or any(child.differs for child in children)
    return RecipeValue(path=path, source="file", where=where, differs=differs, children=tuple(children))


def _mounted(presets: OutputPresets, stage: str, held: Any) -> Any:
    """A stage's settings as they held in the last run, those of presets of output settings among them."""
    own = held or {}
    if not isinstance(own, Mapping):  # a recipe of another version
        return own
    try:
        return {**own, "output": presets.output_of(stage, own.get("output"))}
    except QairtError:
        return own


def _last(pipeline: Pipeline) -> Recipe | None:
    """The recipe of the last run over this cache directory."""
    try:
        return Recipe.from_file(pipeline.state_folder / "recipe.yaml")
    except (QairtError, OSError):
        return None


def _validated(model: type[BaseModel], values: Any) -> BaseModel | None:
    try:
        return model.model_validate(values)
    except ValidationError:  # of another version: nothing to compare with
        return None


def _plain(value: Any) -> Any:
    return value.model_dump(mode="json") if isinstance(value, BaseModel) else canonical(value)


def _text(value: Any) -> str:
    if isinstance(value, str):
        return value
    return canonical(value.model_dump(mode="json") if isinstance(value, BaseModel) else value)
