"""`qairt schema`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from qairt.cli.console import emit_json

if TYPE_CHECKING:
    from pydantic import BaseModel


def schema() -> None:
    """Print the JSON Schema of recipes, for editors.

    \b
    Example:
      qairt schema > recipe.schema.json
    and as the first line of a recipe:
      # yaml-language-server: $schema=recipe.schema.json
    """
    emit_json(recipe_schema())


def recipe_schema() -> dict[str, Any]:
    """The schema of a whole recipe: its top-level settings, and those of every registered stage."""
    import qairt.stages  # noqa: F401 - registers them
    from qairt.engine.stage import registered_stages
    from qairt.recipe.settings import RecipeSettings

    definitions: dict[str, Any] = {}
    whole = _model_schema(RecipeSettings, definitions)
    stages = {}
    for name, stage in registered_stages().items():
        config = _model_schema(stage.config_type, definitions)
        summary = (stage.__doc__ or "").strip().splitlines()
        stages[name] = config | {"type": ["object", "null"], "description": summary[0] if summary else name}
    whole["properties"]["stages"] |= {"type": "object", "properties": stages, "additionalProperties": False}
    whole["title"] = "qairt recipe"
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", **whole, "$defs": definitions}


def _model_schema(model: type[BaseModel], definitions: dict[str, Any]) -> dict[str, Any]:
    """A model's schema with its fields described; what it refers to goes to `definitions`."""
    own = model.model_json_schema(ref_template="#/$defs/{model}")
    definitions |= own.pop("$defs", {})
    for name, text in _described_fields(model).items():
        if name in own.get("properties", {}):
            own["properties"][name].setdefault("description", text)
    return own


def _described_fields(model: type[BaseModel]) -> dict[str, str]:
    """The docstrings below a model's fields, its bases' too."""
    import ast
    import inspect
    import textwrap

    found: dict[str, str] = {}
    for base in reversed(model.__mro__):
        if not base.__module__.startswith("qairt"):
            continue
        try:
            (tree,) = ast.parse(textwrap.dedent(inspect.getsource(base))).body
        except (OSError, TypeError, SyntaxError, ValueError):
            continue
        assert isinstance(tree, ast.ClassDef)
        for field, following in zip(tree.body, tree.body[1:], strict=False):
            if isinstance(field, ast.AnnAssign) and isinstance(field.target, ast.Name):
                match following:
                    case ast.Expr(value=ast.Constant(value=str(text))):
                        found[field.target.id] = " ".join(text.split())
    return found
