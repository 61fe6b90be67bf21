"""The dotted names of all settings, to suggest the right place for one that is written in a wrong one."""

from __future__ import annotations

from collections.abc import Mapping

from qairt.engine.stage import AnyStage, StageConfig
from qairt.recipe.recipe import Recipe
from qairt.recipe.settings import RecipeSettings


def setting_names(recipe: Recipe, known: Mapping[str, type[AnyStage]]) -> list[str]:
    """The settings of a recipe and of its stages, then those of stages that it does not have.

    Args:
        known: all stages.
    """
    stages = recipe.get("stages")
    own = [name for name in known if isinstance(stages, Mapping) and name in stages]
    names = [name for name in RecipeSettings.model_fields if name != "stages"]
    for stage in dict.fromkeys([*own, *known]):
        fields = known[stage].config_type.model_fields.keys() - StageConfig.model_fields.keys()
        names += [f"stages.{stage}.{field}" for field in known[stage].config_type.model_fields if field in fields]
    return names
