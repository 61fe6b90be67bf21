"""What a recipe says: its text, the places of its keys, its faults, and the files that it names."""

from qairt.recipe.recipe import Recipe, recipe_representer

__all__ = ["Recipe", "recipe_representer"]
