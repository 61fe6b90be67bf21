"""The files that a recipe is made of and names."""

from __future__ import annotations

import os

from pydantic import BaseModel

from qairt.recipe.named_files import changed_files, differences, named_files, stamps_of
from qairt.recipe.recipe import Recipe


class Config(BaseModel):
    text: str = ""
    other: int = 3


def test_files_of_values_folders_and_defaults(tmp_path):
    for name in ("model/config.json", "model/model.safetensors", "text.txt", "default.txt"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(name)
    path = tmp_path / "recipe.yaml"
    path.write_text(f"model_id_or_path: {tmp_path}/model\nstages:\n  a: {{files: [{tmp_path}/text.txt, relative]}}\n")
    found = named_files(Recipe.from_file(path), [Config(text=str(tmp_path / "default.txt"))])
    names = {os.path.relpath(file, tmp_path) for file in found}
    assert names == {
        "recipe.yaml", "model", "model/config.json", "model/model.safetensors", "text.txt", "default.txt",
    }  # fmt: skip


def test_a_change_a_removal_and_a_new_file_are_noticed_and_a_touch_of_a_folder_is_not(tmp_path):
    one, two, three, folder = (tmp_path / name for name in ("one", "two", "three", "folder"))
    one.write_text("1")
    two.write_text("2")
    folder.mkdir()
    before = stamps_of([one, two, three, folder])
    assert changed_files(before) == []
    (folder / "new").write_text("")
    assert changed_files(before) == []
    one.write_text("11")
    two.unlink()
    three.write_text("3")
    assert changed_files(before) == [one, two, three]


def test_differences_are_said_in_words():
    before = {"stages": {"fan": {"suffix": "", "arn": [1]}, "old": 1}}
    now = {"stages": {"fan": {"suffix": "!", "arn": [1, 2]}, "new": "x" * 60}}
    assert differences(before, now) == [
        "stages.fan.suffix: (empty) → !",
        "stages.fan.arn: [1] → [1, 2]",
        f"stages.new: unset → {'x' * 39}…",
        "stages.old: 1 → unset",
    ]
