"""The effective settings of a pipeline as a recipe, with the origin of each as a comment."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import TYPE_CHECKING

from qairt.cli.console import emit, emit_json
from qairt.cli.failures import report_note

if TYPE_CHECKING:
    from qairt.engine.pipeline import Pipeline
    from qairt.engine.settings_in_force import RecipeValue

_WIDEST = 60
_PLAIN_KEY = re.compile(r"[A-Za-z_][\w-]*")


def print_settings(pipeline: Pipeline, *, as_json: bool) -> None:
    """Print every setting that is not empty, with `file:line`, `preset file:line`, `command line` or `default`."""
    from qairt.engine.settings_in_force import recipe_values

    whole = recipe_values(pipeline)
    if as_json:
        emit_json(
            [
                {"path": ".".join(value.path), "value": value.text, "source": value.source, "where": value.where}
                for value in whole.walk()
                if not value.children or value.text
            ]
        )
        return
    for note in (*pipeline.notices, *pipeline.warnings):
        report_note(note)
    lines = list(_lines(whole, 0))
    column = min(max((len(text) for text, _ in lines), default=0), _WIDEST) + 2
    for text, comment in lines:
        emit(f"{text.ljust(column)}# {comment}" if comment else text)


def _lines(group: RecipeValue, depth: int) -> Iterator[tuple[str, str]]:
    for value in group.children:
        key = value.key if _PLAIN_KEY.fullmatch(value.key) else json.dumps(value.key, ensure_ascii=False)
        start = f"{'  ' * depth}{key}:"
        if value.children and not value.text:
            yield start, ""
            yield from _lines(value, depth + 1)
            continue
        source = f"preset {value.where}" if value.source == "preset" else value.where
        yield f"{start} {_scalar(value.text)}", source
        # the contents of a preset or technique file are comments: they are no settings of the recipe
        for inner in value.children:
            for leaf in inner.walk():
                if not leaf.children:
                    name = ".".join(leaf.path[2:])
                    yield f"{'  ' * (depth + 1)}# {name}: {leaf.text}", f"preset {leaf.where}"


def _scalar(text: str) -> str:
    """A value as YAML reads it back: text is quoted if YAML would read it as another type."""
    from qairt.recipe.source import load_value
    from qairt.recipe.syntax import RecipeSyntaxError

    try:
        read = load_value(text)
    except RecipeSyntaxError:
        return json.dumps(text, ensure_ascii=False)
    plain = text and (not isinstance(read, str) or read == text)
    return text if plain else json.dumps(text, ensure_ascii=False)
