"""Paths mean the same in a recipe, as an override and as an option; a cache belongs to the recipe's file."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from each_command import without_rights_over_modes
from toy_cli import command

INLINE = ("--executor", "inline", "--no-tui")


@pytest.fixture
def home(place: Path, monkeypatch) -> Path:
    monkeypatch.setenv("HOME", str(place / "home"))
    monkeypatch.setenv("CACHES", str(place / "caches"))
    monkeypatch.delenv("NO_SUCH", raising=False)
    (place / "here").mkdir()
    (place / "project").mkdir()
    return place


def write(folder: Path, cache: str = "") -> Path:
    text = (folder.parent / "toy.yaml").read_text().replace("cache_dir: cache\n", cache)
    (folder / "toy.yaml").write_text(text)
    return folder / "toy.yaml"


@pytest.mark.parametrize("how", ["recipe", "override", "option"])
@pytest.mark.parametrize(("written", "meant"), [("~/c", "home/c"), ("${CACHES}/c", "caches/c")])
def test_the_home_folder_and_variables_mean_the_same_everywhere(qairt, home, monkeypatch, how, written, meant):
    recipe = write(home / "project", f"cache_dir: {written}\n" if how == "recipe" else "")
    monkeypatch.chdir(home / "here")
    words = {"recipe": (), "override": (f"cache_dir={written}",), "option": (f"--cache-dir={written}",)}[how]
    assert qairt("run", recipe, *words, *INLINE).code == 0
    assert (home / meant / "pipeline_state").is_dir()
    assert not list((home / "here").iterdir())
    assert [path.name for path in (home / "project").iterdir()] == ["toy.yaml"]


def test_a_relative_cache_dir_is_beside_the_recipe_and_on_the_command_line_in_the_working_directory(
    qairt, home, monkeypatch
):
    recipe = write(home / "project", "cache_dir: work/cache\n")
    monkeypatch.chdir(home / "here")
    assert qairt("run", recipe, *INLINE).code == 0
    assert (home / "project" / "work" / "cache" / "pipeline_state").is_dir()
    assert qairt("run", recipe, "cache_dir=work/cache", *INLINE).code == 0
    assert (home / "here" / "work" / "cache" / "pipeline_state").is_dir()


def test_a_recipe_has_one_cache_wherever_it_is_run_from(qairt, home, monkeypatch):
    recipe = write(home / "project")
    monkeypatch.chdir(home / "project")
    assert qairt("run", "toy.yaml", *INLINE).code == 0
    assert (home / "project" / "qairt-cache" / "toy" / "pipeline_state").is_dir()
    for folder in (home, home / "here", Path("/")):
        monkeypatch.chdir(folder)
        assert qairt("plan", os.path.relpath(recipe), "--json").data["to_run"] == 0
    monkeypatch.chdir(home)
    assert "0001" in qairt("status").out, "found one folder down"
    assert qairt("logs", "0001").code == 0
    assert not (home / "qairt-cache").exists()


def test_a_cache_where_earlier_versions_had_it_is_named_with_the_command_that_moves_it(qairt, home, monkeypatch):
    recipe = write(home / "project")
    qairt("run", recipe, *INLINE)
    new, old = home / "project" / "qairt-cache" / "toy", home / "here" / "qairt-cache" / "toy"
    old.parent.mkdir()
    shutil.move(new, old)
    new.parent.rmdir()
    monkeypatch.chdir(home / "here")
    move = f"mkdir -p {new.parent} && mv {old} {new}"
    said = qairt("plan", recipe)
    assert said.err == (
        f"Note: a recipe's cache is beside its file now, in {new}; the one in {old} is not used: "
        f"move it there: {move}\n"
    )
    subprocess.run(move, shell=True, check=True)
    said = qairt("plan", recipe, "--json")
    assert (said.data["to_run"], said.err) == (0, "")


@pytest.mark.parametrize(
    ("words", "error"),
    [
        (
            ["--cache-dir=${NO_SUCH}/c"],
            "Invalid value for '--cache-dir': the environment variable NO_SUCH is not set",
        ),
        (["--cache-dir=~nobody-here/c"], "Invalid value for '--cache-dir': there is no user nobody-here, whose"),
        (["cache_dir=${NO_SUCH}/c"], "command line: cache_dir: the environment variable NO_SUCH is not set\n  set it,"),
        (["stages.fan.output.visualization.save_dir=${NO_SUCH}/c"], "the environment variable NO_SUCH is not set"),
    ],
)
def test_a_variable_that_is_not_set_is_an_error(qairt, home, words, error):
    said = qairt("plan", "toy.yaml", *words)
    assert said.code == 2
    assert error in said.err
    assert not list(home.glob("*NO_SUCH*"))


def test_every_variable_of_a_recipe_that_is_not_set_is_named_with_its_line(qairt, home):
    recipe = home / "toy.yaml"
    recipe.write_text("sdk_root: ~nobody-here/sdk\nmodel_id_or_path: ${NO_SUCH}/m\n" + recipe.read_text())
    assert qairt("check", recipe).err == (
        f"Error: {recipe}:1: sdk_root: there is no user nobody-here, whose home folder this would be\n"
        "  set it, or write the path without it\n"
        f"Error: {recipe}:2: model_id_or_path: the environment variable NO_SUCH is not set\n"
        "  set it, or write the path without it\n"
    )


@pytest.mark.skipif(sys.platform != "linux", reason="capabilities are Linux's")
@pytest.mark.parametrize("verb", ["check", "run"])
def test_a_folder_that_cannot_be_written_is_one_error(home: Path, verb: str):
    write(home / "project")
    (home / "project").chmod(0o555)
    done = subprocess.run(
        command(verb, str(home / "project" / "toy.yaml")),
        cwd=home / "here",
        capture_output=True,
        text=True,
        preexec_fn=without_rights_over_modes,
    )
    (home / "project").chmod(0o755)
    said = " ".join((done.stdout + done.stderr).split())
    folder = home / "project"
    assert done.returncode == 1
    assert (
        f"{folder}/qairt-cache/toy/pipeline_state: the cache directory cannot be written: {folder} is read-only for "
        "this user make it writable, or choose another one with --cache-dir or `cache_dir:` in the recipe"
    ) in said
    assert said.count("cannot be written") == 1
    assert "viz" not in said
