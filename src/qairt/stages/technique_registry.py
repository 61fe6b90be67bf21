"""`RecipeRegistry`: quantization techniques by name, those that qairt ships and those that a program registers.

Source: the names are those of the vendor's page "Quantization Recipes". A technique there is a class with a file of
default settings; here it is such a file, and all have the class `TechniqueConfig`.
"""

from __future__ import annotations

import os
from pathlib import Path

from qairt.errors import RecipeError
from qairt.quant.config import TechniqueConfig
from qairt.recipe.files import REGISTERED, shipped_recipes
from qairt.recipe.find import description_of
from qairt.recipe.names import nearest
from qairt.stages.technique_file import load_technique


class RecipeRegistry:
    """Techniques for `stages.quantization.recipe`, by name without `.yaml`."""

    @classmethod
    def register(
        cls,
        name: str,
        recipe_class: type[TechniqueConfig] = TechniqueConfig,
        default_config: str | os.PathLike[str] | None = None,
    ) -> None:
        """Let recipes use a file of settings by a name. A file beside a recipe, or a shipped one, takes precedence.

        Raises:
            RecipeError: there is no file, its settings are wrong, or the name is taken.
            TypeError: `recipe_class` is not `TechniqueConfig`: code of the vendor's own techniques cannot run here.
        """
        if recipe_class is not TechniqueConfig:
            raise TypeError(f"{recipe_class!r} is not TechniqueConfig: a technique here is a file of settings for it")
        if default_config is None:
            raise RecipeError(f"the technique {name} has no file", where=name, remedy="give default_config")
        path = Path(default_config).absolute()
        load_technique(path)
        if cls._files().get(name, path) != path:
            raise RecipeError("a technique has this name already", where=name, remedy="choose another name")
        REGISTERED[f"{name}.yaml"] = path

    @classmethod
    def get(cls, name: str) -> type[TechniqueConfig]:
        """The class of a technique's settings.

        Raises:
            RecipeError: there is no such technique; also a ValueError.
        """
        cls._file(name)
        return TechniqueConfig

    @classmethod
    def get_default_config(cls, name: str) -> Path:
        """The file with a technique's settings.

        Raises:
            RecipeError: there is no such technique; also a ValueError.
        """
        return cls._file(name)

    @classmethod
    def list_recipes(cls) -> list[dict[str, str]]:
        """All techniques: `name`, `result_type`, `description`."""
        return [
            {"name": name, "result_type": load_technique(path).technique, "description": description_of(path)}
            for name, path in sorted(cls._files().items())
        ]

    @classmethod
    def _file(cls, name: str) -> Path:
        files = cls._files()
        if name not in files:
            close = nearest(name, files)
            remedy = f"did you mean {close}?" if close else f"the techniques are {', '.join(sorted(files))}"
            raise RecipeError("there is no such technique", where=name, remedy=remedy)
        return files[name]

    @staticmethod
    def _files() -> dict[str, Path]:
        shipped = {path.stem: path for path in (shipped_recipes() / "quantization").glob("*.yaml")}
        return {name.removesuffix(".yaml"): path for name, path in REGISTERED.items()} | shipped
