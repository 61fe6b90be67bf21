"""Pydantic errors in the form that the user of a recipe reads."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

import pytest
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from qairt.recipe import Recipe
from qairt.recipe.configs import LoRAFeatureConfig
from qairt.recipe.faults import faults_from_pydantic


class Inner(BaseModel):
    model_config = ConfigDict(extra="forbid")

    block_size: int = 64


class Config(BaseModel):
    model_config = ConfigDict(extra="forbid")

    num_splits: int = Field(gt=0)
    arn: int | list[int] = 1
    scheme: Literal["w4a16", "w8a16"] = "w8a16"
    inner: Inner | None = None
    by_name: dict[str, Inner] = {}

    @model_validator(mode="after")
    def _both(self) -> Config:
        if self.num_splits == 7:
            raise ValueError("7 parts bring no luck")
        return self


def messages(text: str, model: type[BaseModel] | None = Config, prefix: Any = ("stages", "split_model")) -> list[str]:
    Path("llama.yaml").write_text("stages:\n  split_model:\n" + "".join(f"    {line}\n" for line in text.split("\n")))
    recipe = Recipe.from_file("llama.yaml")
    with pytest.raises(ValidationError) as error:
        (model or Config).model_validate(recipe.at(prefix))
    return [str(fault) for fault in faults_from_pydantic(error.value, recipe, prefix, model)]


@pytest.fixture(autouse=True)
def place(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


AT = "stages.split_model"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (
            "num_splits: 1\nnum_split: 2",
            f"llama.yaml:4: {AT}.num_split is not a setting of split_model\n  did you mean num_splits?",
        ),
        (
            "num_splits: 1\nzzz: 2",
            f"llama.yaml:4: {AT}.zzz is not a setting of split_model\n"
            "  its settings: num_splits, arn, scheme, inner, by_name",
        ),
        ("arn: 1", f"llama.yaml:2: {AT}.num_splits is missing\n  add it"),
        (
            "num_splits: four",
            f"llama.yaml:3: {AT}.num_splits: input should be a valid integer, unable to parse string as an integer,"
            " not 'four'\n  change its value",
        ),
        (
            "num_splits: 0",
            f"llama.yaml:3: {AT}.num_splits: input should be greater than 0, not 0\n  change its value",
        ),
        (
            "num_splits: 1\nscheme: w4a61",
            f"llama.yaml:4: {AT}.scheme: input should be 'w4a16' or 'w8a16', not 'w4a61'\n  did you mean w4a16?",
        ),
        (
            "num_splits: 1\narn: {}",
            f"llama.yaml:4: {AT}.arn: input should be a valid integer or input should be a valid list, not {{}}\n"
            "  change its value",
        ),
        (
            "num_splits: 1\ninner:\n  blocksize: 3",
            f"llama.yaml:5: {AT}.inner.blocksize is not a setting of inner\n  did you mean block_size?",
        ),
        (
            "num_splits: 1\nby_name:\n  first: {block_sise: 3}",
            f"llama.yaml:5: {AT}.by_name.first.block_sise is not a setting of first\n  did you mean block_size?",
        ),
        (
            "num_splits: 1\ninner: 5",
            f"llama.yaml:4: {AT}.inner: input should be a mapping of settings, not 5\n  change its value",
        ),
        ("num_splits: 7", f"llama.yaml:2: {AT}: 7 parts bring no luck\n  change its value"),
    ],
)
def test_one_fault(text, message):
    assert messages(text) == [message]


def test_all_faults_at_once():
    assert len(messages("num_splits: x\nnum_split: 2\nscheme: z\narn: [1, x]")) == 4


def test_an_item_of_a_list_has_its_line_and_the_other_branch_is_not_reported():
    assert messages("num_splits: 1\narn:\n- 1\n- x") == [
        f"llama.yaml:6: {AT}.arn.1: input should be a valid integer, unable to parse string as an integer, not 'x'\n"
        "  change its value"
    ]


def test_long_values_are_cut():
    (message,) = messages(f"num_splits: {'x' * 5000}")
    assert len(message) < 300


def test_without_the_model_no_names_are_known():
    (message,) = messages("num_splits: 1\nnum_split: 2", model=None)
    assert message == f"llama.yaml:4: {AT}.num_split is not a setting of split_model\n  its settings: none"


def test_the_whole_recipe_and_overrides():
    recipe = Recipe({"num_splits": 1})
    recipe.override(["inner.block_sise=3"])
    with pytest.raises(ValidationError) as error:
        Config.model_validate(dict(recipe))
    (fault,) = faults_from_pydantic(error.value, recipe, (), Config)
    assert str(fault) == "command line: inner.block_sise is not a setting of inner\n  did you mean block_size?"


def test_a_dotted_prefix_and_a_path_that_does_not_exist():
    (message,) = messages("adapters:\n  one: {path: /no/such}", model=LoRAFeatureConfig, prefix="stages.split_model")
    assert message == (
        f"llama.yaml:4: {AT}.adapters.one.path: path does not point to a directory: '/no/such'\n  change its value"
    )
