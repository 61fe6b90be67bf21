"""The `verify` setting: short forms, thresholds for all rungs or by rung, and errors."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

from qairt.errors import RecipeError
from qairt.llm import LLMPipeline
from qairt.recipe.settings import MinSqnrConfig, RecipeSettings, VerifyConfig
from qairt.verify.result import DEVICE, RUNGS


def verify(value: Any) -> VerifyConfig:
    return RecipeSettings.model_validate({"verify": value, "stages": {}}).verify


def test_every_rung_has_a_threshold():
    assert tuple(MinSqnrConfig.model_fields) == (*RUNGS, DEVICE)


@pytest.mark.parametrize("word", ["size", "full"])
def test_the_short_form_sets_how_artifacts_are_checked(word):
    assert verify(word) == verify({"artifacts": word})
    assert verify(word).min_sqnr_db == MinSqnrConfig()


def test_thresholds_of_all_rungs_or_of_some():
    assert set(verify({"min_sqnr_db": 30}).min_sqnr_db.model_dump().values()) == {30.0}
    some = verify({"min_sqnr_db": {"quantize": 18}}).min_sqnr_db
    assert (some.quantize, some.split_model, some.export) == (18.0, 100.0, 60.0)


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ("ful", "verify: input should be 'size' or 'full', not 'ful'"),
        ({"min_sqnr": 3}, "verify.min_sqnr is not a setting of verify"),
        ({"min_sqnr_db": {"quantise": 3}}, "verify.min_sqnr_db.quantise is not a setting of min_sqnr_db"),
    ],
)
def test_errors_name_the_line(tmp_path: Path, value: Any, message: str):
    path = tmp_path / "recipe.yaml"
    path.write_text(yaml.safe_dump({"verify": value, "backend": "CPU", "stages": {}}))
    with pytest.raises(RecipeError) as caught:
        LLMPipeline.from_recipe(path)
    assert message in str(caught.value)
    assert f"{path}:" in str(caught.value)
