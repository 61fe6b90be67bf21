"""What the shell completes: recipes, stages, runs, and the technique in `stages.quantization.recipe=`.

Reads recipes as plain YAML: no pipeline is built, so no stage, pydantic model or toolchain of ours is imported.
"""

from __future__ import annotations

from pathlib import Path

import typer

_TECHNIQUE = "stages.quantization.recipe"


def recipes(incomplete: str) -> list[str]:
    """Recipe files in this folder and in `recipes/`, or in the folder already typed, and the recipes that ship."""
    from qairt.recipe.find import shipped_by_name

    folder, slash, _ = incomplete.rpartition("/")
    folders = [folder or "/"] if slash else ["", "recipes"]
    files = [str(path) for each in folders for path in sorted(Path(each).glob("*.y*ml"))]
    return _starting(incomplete, [*files, *([] if slash else shipped_by_name())])


def shipped(incomplete: str) -> list[str]:
    """The recipes and techniques that ship."""
    from qairt.recipe.find import shipped_by_name

    return _starting(incomplete, [*shipped_by_name(), *_techniques(shipped_only=True)])


def stages(ctx: typer.Context, incomplete: str) -> list[str]:
    """The stages of the recipe on the command line."""
    recipe = _recipe_of(ctx)
    found = _read(recipe).get("stages") if recipe else None
    return _starting(incomplete, list(found)) if isinstance(found, dict) else []


def runs(ctx: typer.Context, incomplete: str) -> list[str]:
    """The runs in the cache directory of the recipe, or in those below `qairt-cache/`; the latest first."""
    from qairt.cli.find_cache_dir import caches_here
    from qairt.files import expanded
    from qairt.recipe.files import default_cache_dir

    given = ctx.params.get("cache_dir")
    recipe = _recipe_of(ctx)
    if given is None and recipe is not None:
        written = _read(recipe).get("cache_dir")
        given = recipe.parent / expanded(str(written)) if written else default_cache_dir(recipe)
    caches = [Path(str(given))] if given is not None else caches_here()
    found = [
        f"{cache.name}/{run.name}" if len(caches) > 1 else run.name
        for cache in caches
        for run in (cache / "pipeline_state" / "runs").glob("*")
    ]
    return _starting(incomplete, sorted(found, reverse=True))


def recipes_or_runs(ctx: typer.Context, incomplete: str) -> list[str]:
    return [*recipes(incomplete), *runs(ctx, incomplete)]


def overrides(ctx: typer.Context, incomplete: str) -> list[str]:
    """`stages.quantization.recipe=` with each technique; alone, where the shell split the word at `=`."""
    before = [str(word) for word in ctx.params.get("overrides") or ()]
    if _TECHNIQUE in (*before[-1:], *(before[-2:-1] if before[-1:] == ["="] else [])):
        return _starting(incomplete, _techniques())
    return _starting(incomplete, [f"{_TECHNIQUE}={name}" for name in _techniques()]) if incomplete else []


def _techniques(*, shipped_only: bool = False) -> list[str]:
    from qairt.recipe.files import shipped_recipes

    folders = [shipped_recipes() / "quantization", *([] if shipped_only else [Path("quantization")])]
    return list(dict.fromkeys(path.name for folder in folders for path in sorted(folder.glob("*.y*ml"))))


def _recipe_of(ctx: typer.Context) -> Path | None:
    """The recipe on the command line, as far as it is typed."""
    from qairt.cli.find_recipe import is_recipe
    from qairt.recipe.find import find_recipe

    named = [ctx.params.get(name) for name in ("recipe", "recipe_or_run", "recipe_option")]
    unparsed = ctx.args  # all arguments, where the last word is an option without its value
    for word in (*named, *unparsed):
        if isinstance(word, str) and is_recipe(word):
            return find_recipe(word)
    return None


def _read(recipe: Path) -> dict[str, object]:
    from qairt.recipe import Recipe

    return dict(Recipe.from_yaml(recipe))


def _starting(incomplete: str, words: list[str]) -> list[str]:
    return [word for word in words if word.startswith(incomplete) and word.isprintable()]
