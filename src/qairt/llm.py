"""`LLMPipeline`: a recipe, its stages, and what a user does with the result."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from qairt.engine.assembly import load_configs
from qairt.engine.manifest import STATE_FOLDER
from qairt.engine.pipeline import Pipeline
from qairt.engine.stage import Stage, registered_stages
from qairt.errors import RecipeError
from qairt.recipe import Recipe, faults_from_pydantic
from qairt.stages.settings import Settings

NPU_STAGES = ("convert", "generate_context_binary")
"""Stages that `backend: CPU` leaves out."""


class LLMPipeline(Pipeline):
    """A pipeline for a language model; see `Pipeline` for planning and running."""

    settings: Settings

    @classmethod
    def from_recipe(
        cls, path: str | Path, overrides: Sequence[str] = (), cache_dir: str | Path | None = None
    ) -> LLMPipeline:
        """The pipeline of a recipe file.

        Args:
            path: `.yaml` or `.yml`.
            overrides: `KEY=VALUE` with dotted keys, applied over the file.
            cache_dir: instead of the recipe's.

        Raises:
            FileNotFoundError: there is no such file.
            RecipeError: names every fault with file:line and the nearest valid name.
            ContractViolation: the stages are in an order that cannot work.
        """
        recipe = Recipe.from_file(path)
        recipe.override(overrides)
        return cls.of(recipe, cache_dir=cache_dir)

    @classmethod
    def from_pretrained(cls, model: str | Path, recipe: str | Path | Recipe, **kwargs: Any) -> LLMPipeline:
        """The pipeline of `recipe` for another model."""
        loaded = recipe if isinstance(recipe, Recipe) else Recipe.from_file(recipe)
        loaded["model_id_or_path"] = str(model)
        return cls.of(loaded, **kwargs)

    @classmethod
    def load(cls, cache_dir: str | Path) -> LLMPipeline:
        """The pipeline that last ran over `cache_dir`, to go on with it.

        Raises:
            RecipeError: no run left a recipe there.
        """
        path = Path(cache_dir) / STATE_FOLDER / "recipe.yaml"
        if not path.is_file():
            raise RecipeError("no run was started in this cache directory", where=str(path), remedy="qairt run RECIPE")
        return cls.of(Recipe.from_file(path), cache_dir=cache_dir)

    @classmethod
    def of(cls, recipe: Recipe, *, cache_dir: str | Path | None = None) -> LLMPipeline:
        """The pipeline of a recipe in memory."""
        import qairt.stages  # noqa: F401 - registers the stages

        faults: list[RecipeError] = []
        settings = None
        try:
            settings = Settings.model_validate(dict(recipe)).found_in(recipe.source.parent if recipe.source else None)
        except ValidationError as error:
            faults += faults_from_pydantic(error, recipe, (), Settings)
        found = []
        if "stages" in recipe:
            try:
                found = load_configs(recipe, registered_stages())
            except RecipeError as error:
                faults += error.faults or [error]
        if faults or settings is None:
            raise faults[0] if len(faults) == 1 else RecipeError(f"{len(faults)} faults", faults=faults)
        stages: list[Stage[Any, Any, Any]] = [
            stage(config) for stage, config in found if settings.backend == "HTP" or stage.name not in NPU_STAGES
        ]
        name = recipe.source.stem if recipe.source else "recipe"
        return cls(
            stages,
            cache_dir or settings.cache_dir or Path("qairt-cache") / name,
            recipe=recipe,
            settings=settings,
            suppress_performance_warnings=settings.suppress_performance_warnings,
        )
