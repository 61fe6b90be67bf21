"""Where a file that a recipe names is looked for, and the error when it does not exist."""

from __future__ import annotations

from pathlib import Path

import pytest

from qairt.recipe.files import FileSearch, RecipeFile, is_path, shipped_recipes

TECHNIQUE = RecipeFile(folder="quantization")


@pytest.fixture
def home(tmp_path, monkeypatch):
    """The folder of a recipe; the working directory is another one."""
    (tmp_path / "home").mkdir()
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    return tmp_path / "home"


def write(path: Path) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("technique: minmax\n")
    return path


def test_beside_the_recipe_then_in_its_folder_then_shipped_and_never_in_the_working_directory(home):
    write(Path.cwd() / "minmax.yaml")
    search = FileSearch("minmax.yaml", TECHNIQUE, home)
    assert search.find() == shipped_recipes() / "quantization" / "minmax.yaml"
    in_folder = write(home / "quantization" / "minmax.yaml")
    assert search.find() == in_folder
    beside = write(home / "minmax.yaml")
    assert search.find() == beside


def test_an_absolute_path_is_used_as_it_is(home):
    shipped = shipped_recipes() / "quantization" / "minmax.yaml"
    write(home / "minmax.yaml")
    assert FileSearch(str(shipped), TECHNIQUE, home).find() == shipped
    assert FileSearch("/no/such/minmax.yaml", TECHNIQUE, home).find() is None


def test_on_the_command_line_the_working_directory_comes_first(home):
    beside = write(home / "text.txt")
    search = FileSearch("text.txt", RecipeFile(), home, on_command_line=True)
    assert search.find() == beside
    here = write(Path.cwd() / "text.txt")
    assert search.find() == here
    assert FileSearch("minmax.yaml", TECHNIQUE, home, on_command_line=True).find() == (
        shipped_recipes() / "quantization" / "minmax.yaml"
    )


def test_a_recipe_without_a_file_is_in_the_working_directory(home):
    search = FileSearch("y.yaml", TECHNIQUE, None)
    in_folder = write(Path.cwd() / "quantization" / "y.yaml")
    assert search.find() == in_folder
    here = write(Path.cwd() / "y.yaml")
    assert search.find() == here


def test_the_home_folder_and_variables_are_expanded(home, monkeypatch):
    monkeypatch.setenv("HOME", str(home))
    monkeypatch.setenv("TEXTS", str(home / "texts"))
    text = write(home / "texts" / "x.txt")
    for name in ("~/texts/x.txt", "${TEXTS}/x.txt"):
        assert FileSearch(name, RecipeFile(), Path()).find() == text
    error = FileSearch("${NO_SUCH}/x.txt", RecipeFile(), home).error("calibration_text")
    assert str(error) == (
        f"calibration_text: ${{NO_SUCH}}/x.txt was not found in {home}\n  set the environment variable NO_SUCH"
    )


@pytest.mark.parametrize("name", ["~nosuchuser/x.yaml", "x" * 5000, "", ".", "a\0b", "gone/x.yaml"])
def test_invalid_names(home, name):
    search = FileSearch(name, TECHNIQUE, home)
    assert search.find() is None
    assert search.error("recipe").where == "recipe"


def test_a_missing_technique_names_the_folders_and_the_nearest(home):
    error = FileSearch("lpqb_mse.yaml", TECHNIQUE, home).error("stages.quantization.recipe")
    assert str(error) == (
        f"stages.quantization.recipe: lpqb_mse.yaml was not found in {home}, {home}/quantization or"
        f" {shipped_recipes()}/quantization\n  did you mean lpbq_mse.yaml?"
    )
    remedy = FileSearch("zzzz", TECHNIQUE, home).error("x").remedy
    assert remedy is not None
    assert remedy.startswith("qairt ships ")
    assert "lpbq_mse.yaml" in remedy


def test_a_missing_file_names_the_nearest_beside_the_recipe(home):
    write(home / "calibration.txt")
    search = FileSearch("calibraton.txt", RecipeFile(), home)
    assert str(search.error("x")) == f"x: calibraton.txt was not found in {home}\n  did you mean calibration.txt?"
    assert FileSearch("/no/such.txt", RecipeFile(), home).error("x").what == "/no/such.txt does not exist"
    remedy = FileSearch("zzzz", RecipeFile("folder"), home).error("x").remedy
    assert remedy == "give the path of an existing folder"


def test_a_file_that_is_only_in_the_working_directory_is_named_as_the_recipe_must_write_it(home):
    write(Path.cwd() / "text.txt")
    search = FileSearch("text.txt", RecipeFile(), home)
    assert str(search.error("calibration_text")) == (
        f"calibration_text: text.txt was not found in {home}\n"
        "  it is in the working directory, but a path is relative to the recipe's file: write ../elsewhere/text.txt"
    )


def test_a_folder_is_not_a_file(home):
    (home / "texts").mkdir()
    assert FileSearch("texts", RecipeFile(), home).find() is None
    assert FileSearch("texts", RecipeFile(), home).error("x").what == f"{home}/texts is not a file"
    assert FileSearch("texts", RecipeFile("folder"), home).find() == home / "texts"
    assert FileSearch("texts", RecipeFile("file or folder"), home).find() == home / "texts"


@pytest.mark.parametrize("name", ["x.gguf", "./x", "../x", "/x", "~/x", "${X}/x", "a/b/c", "text.txt"])
def test_what_can_only_be_a_path(name):
    assert is_path(name)


@pytest.mark.parametrize("name", ["wikitext", "org/Model-1.5B", "org/Model@main"])
def test_what_can_be_an_id(home, name):
    assert not is_path(name)
    assert FileSearch(name, RecipeFile("file or folder", or_hub_id=True), home).can_be_hub_id()
    assert not FileSearch(name, RecipeFile("file or folder"), home).can_be_hub_id()


def test_a_name_in_the_working_directory_is_not_an_id(home):
    write(Path.cwd() / "org" / "Model")
    assert not FileSearch("org/Model", RecipeFile("file or folder", or_hub_id=True), home).can_be_hub_id()
