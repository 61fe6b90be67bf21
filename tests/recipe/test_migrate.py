"""`qairt migrate`: old keys become new ones, comments stay."""

from __future__ import annotations

import errno
import os
import re
from pathlib import Path

import pytest
import yaml

from qairt.cli.main import main
from qairt.errors import CacheError, RecipeError
from qairt.recipe import Recipe
from qairt.recipe.migrate import migration
from qairt.recipe.old_keys import apply_old_keys

OLD = """\
# A recipe from before.
model_id_or_path: org/Toy-1B       # the model

# outputs of the profiler
outputs:
  save_predictions: true      # we want them
  # how the pictures look
  visualization:
    enable: false             # not now
    max_images: 4             # few

  predictions:
    strip_special_tokens: true
# the work
stages:
  model_loading: {}
  torch_profiler:
    prompts: ["a", 'b']       # two
    output:
      visualization:
        enable: true          # the new one
  quantization:
    recipe: minmax.yaml
# last words
"""


def rewritten(folder: Path, text: str) -> str:
    path = folder / "recipe.yaml"
    path.write_text(text)
    expected = Recipe.from_yaml(path)
    apply_old_keys(expected)
    made = migration(path)
    made.apply()
    assert dict(Recipe.from_yaml(path)) == dict(expected)
    comments = [line.partition("#")[2].strip() for line in text.splitlines() if "#" in line]
    after = path.read_text()
    assert sorted(comments) == sorted(line.partition("#")[2].strip() for line in after.splitlines() if "#" in line)
    return after


def test_old_keys_move_and_everything_else_stays(tmp_path):
    assert (
        rewritten(tmp_path, OLD)
        == """\
# A recipe from before.
model_id_or_path: org/Toy-1B       # the model

# outputs of the profiler
# how the pictures look
# not now
# the work
stages:
  model_loading: {}
  torch_profiler:
    prompts: ["a", 'b']       # two
    output:
      visualization:
        enable: true          # the new one
      prediction:
        enable: true  # we want them
      extra:
        toy_1b:
          visualization:
            max_images: 4  # few
          prediction:
            strip_special_tokens: true
  quantization:
    recipe: minmax.yaml
# last words
"""
    )


WRITTEN = {
    "dotted": """
outputs.save_predictions: true  # dotted
stages:
  torch_profiler: {}
""",
    "in braces": """
stages: {torch_profiler: {}}
outputs: {save_predictions: true}  # in braces
""",
    "after an empty stage": """
stages:
  torch_profiler:
output:
  prediction: {enable: true}
# end
""",
    "all of it": """
pipeline:
  model_loading: {}  # first
  torch_profiler:
    prompts: [x]  # some
""",
    "comment above": """
pipeline:
  # about it
  torch_profiler:
    output:
      prediction:
        enable: true
backend: CPU
""",
    "dotted all the way": """
stages:
  a: {}
  torch_profiler:
    output: {visualization: {enable: false}}
pipeline.torch_profiler.output.visualization.enable: true
""",
    "no such stage": """
outputs:
  save_predictions: true # alone
stages:
  model_loading: {}
""",
    "four spaces": """
stages:
    torch_profiler:
        prompts:
            - one
            - two
outputs:
    save_predictions: no
""",
}


@pytest.mark.parametrize("text", WRITTEN.values(), ids=WRITTEN)
def test_however_they_are_written(tmp_path, text):
    after = rewritten(tmp_path, text)
    assert not re.search(r"^(outputs?|pipeline)\b", after, re.MULTILINE)
    again = migration(tmp_path / "recipe.yaml")
    assert (again.keys, again.before) == ((), again.after)


def test_a_file_that_cannot_be_rewritten_is_not_changed(tmp_path):
    text = "base: &b {save_predictions: true}\noutputs: *b\nstages: {torch_profiler: {}}\n"
    path = tmp_path / "recipe.yaml"
    path.write_text(text)
    with pytest.raises(RecipeError, match="by hand, move outputs.save_predictions to stages.torch_profiler.output"):
        migration(path)
    assert path.read_text() == text


def test_the_command_shows_and_writes(tmp_path, capsys):
    path = tmp_path / "recipe.yaml"
    path.write_text(OLD)
    assert main(["migrate", str(path), "--dry-run"]) == 0
    said = capsys.readouterr().out
    assert "-  save_predictions: true      # we want them" in said
    assert "+        enable: true  # we want them" in said
    assert said.endswith("4 keys would be moved\n")
    assert path.read_text() == OLD
    path.chmod(0o640)
    assert main(["migrate", str(path)]) == 0
    assert "which is set to true" in capsys.readouterr().out
    assert yaml.safe_load(path.read_text())["stages"]["torch_profiler"]["output"]["prediction"] == {"enable": True}
    assert path.stat().st_mode & 0o777 == 0o640
    assert main(["migrate", str(path)]) == 0
    assert capsys.readouterr().out == f"{path}: no old keys, nothing to rewrite\n"


def test_a_file_that_has_changed_is_not_overwritten(tmp_path):
    path = tmp_path / "recipe.yaml"
    path.write_text(OLD)
    made = migration(path)
    path.write_text("backend: CPU\n")
    with pytest.raises(RecipeError, match="the file has changed in the meantime"):
        made.apply()
    assert path.read_text() == "backend: CPU\n"


def test_a_full_disk(tmp_path, monkeypatch):
    def fail(_: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    path = tmp_path / "recipe.yaml"
    path.write_text(OLD)
    made = migration(path)
    monkeypatch.setattr("os.fsync", fail)
    with pytest.raises(CacheError, match="no space left on device\n  free space on that disk .*, or work on a copy"):
        made.apply()
    assert path.read_text() == OLD


def test_a_file_that_is_not_a_recipe(tmp_path):
    (tmp_path / "bad.yaml").write_text("a: [1\n")
    with pytest.raises(RecipeError, match=r"bad.yaml:"):
        migration(tmp_path / "bad.yaml")
