"""Recipes: their text, where each key was written, their faults, and the files that they name."""

from qairt.recipe.recipe import Recipe, recipe_representer

__all__ = ["Recipe", "recipe_representer"]
