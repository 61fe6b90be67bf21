"""The shared configs: fields, defaults, validators."""

from __future__ import annotations

import subprocess
import sys

import pytest
from pydantic import BaseModel, ValidationError

from qairt.recipe.configs import (
    EvaluatorConfig,
    ExporterConfig,
    GeneratorConfig,
    LoRAAdapterConfig,
    LoRAAdapterMetadata,
    LoRAConcurrencyConfig,
    LoRAFeatureConfig,
    OnnxExporterConfig,
)


@pytest.mark.parametrize(
    ("model", "defaults"),
    [
        (EvaluatorConfig, {"context_length": 2048, "metrics": [], "output_dir": None}),
        (GeneratorConfig, {"context_length": None, "sequence_length": None}),
        (ExporterConfig, {}),
        (OnnxExporterConfig, {"args": {}}),
        (
            LoRAFeatureConfig,
            {"adapters": {}, "concurrencies": {}, "quant_updatable_mode": "adapter_only", "form": "inputs"},
        ),
    ],
)
def test_fields_and_defaults(model, defaults):
    assert list(model.model_fields) == list(defaults)
    assert model().model_dump() == defaults
    with pytest.raises(ValidationError, match="Extra inputs are not permitted"):
        model(contextlength=1)


def test_bases():
    assert issubclass(OnnxExporterConfig, ExporterConfig)
    assert issubclass(ExporterConfig, BaseModel)


def test_defaults_are_not_shared():
    EvaluatorConfig().metrics.append({"name": "perplexity"})
    assert EvaluatorConfig().metrics == []


def test_an_adapter_is_an_existing_folder(tmp_path):
    assert LoRAAdapterConfig(path=tmp_path).path == tmp_path
    with pytest.raises(ValidationError, match="Path does not point to a directory"):
        LoRAAdapterConfig(path=tmp_path / "gone")
    with pytest.raises(ValidationError, match="Field required"):
        LoRAAdapterConfig()


def test_an_adapter_may_be_a_gguf_file(tmp_path):
    (tmp_path / "french.gguf").touch()
    (tmp_path / "french.txt").touch()
    assert LoRAAdapterConfig(path=tmp_path / "french.gguf").path == tmp_path / "french.gguf"
    for other in ("french.txt", "german.gguf"):
        with pytest.raises(ValidationError, match="Path does not point to a directory"):
            LoRAAdapterConfig(path=tmp_path / other)


def concurrency(adapters=("french",), scaling=(1.0,)):
    return {"adapters": list(adapters), "calibration_dataset": "text.txt", "lora_scaling": list(scaling)}


def test_one_scaling_for_each_adapter():
    assert LoRAConcurrencyConfig(**concurrency()).lora_scaling == [1.0]
    with pytest.raises(ValidationError, match="lora_scaling has 1 values for 2 adapters: give one for each"):
        LoRAConcurrencyConfig(**concurrency(("a", "b"), (0.5,)))


@pytest.mark.parametrize("missing", ["adapters", "calibration_dataset", "lora_scaling"])
def test_a_concurrency_needs_all_three(missing):
    values = concurrency()
    del values[missing]
    with pytest.raises(ValidationError, match=rf"{missing}\n  Field required"):
        LoRAConcurrencyConfig(**values)


def test_every_adapter_that_is_referred_to_exists(tmp_path):
    adapters = {"french": {"path": tmp_path}, "poems": {"path": tmp_path}}
    found = LoRAFeatureConfig(adapters=adapters, concurrencies={"both": concurrency(("french", "poems"), (1, 0.5))})
    assert found.concurrencies["both"].lora_scaling == [1.0, 0.5]
    with pytest.raises(ValidationError) as error:
        LoRAFeatureConfig(adapters=adapters, concurrencies={"one": concurrency(("german",))})
    (fault,) = error.value.errors()
    assert str(fault["ctx"]["error"]) == (
        "concurrencies.one uses german, which adapters does not define (it defines french, poems)"
    )


@pytest.mark.parametrize(
    ("name", "values", "message"),
    [
        (
            "base",
            concurrency(),
            "concurrencies.base is the model without adapters, which is always there: rename it",
        ),
        (
            "one",
            concurrency((), ()),
            "adapters is empty: name at least one (the model without adapters is always base)",
        ),
        (
            "one",
            concurrency(("french", "french"), (1, 1)),
            "adapters names french twice: name each once, and add up its scalings",
        ),
        ("one", concurrency(scaling=(float("nan"),)), "Input should be a finite number"),
        ("a/b", concurrency(), "String should match pattern '^[A-Za-z0-9][A-Za-z0-9_-]*$'"),
    ],
)
def test_a_concurrency_that_cannot_be(tmp_path, name, values, message):
    with pytest.raises(ValidationError) as error:
        LoRAFeatureConfig(adapters={"french": {"path": tmp_path}}, concurrencies={name: values})
    (fault,) = error.value.errors()
    assert fault["msg"].removeprefix("Value error, ") == message


@pytest.mark.parametrize("name", ["concurrencies", "use_cases"])
def test_concurrencies_are_also_use_cases(tmp_path, name):
    found = LoRAFeatureConfig(**{"adapters": {"french": {"path": tmp_path}}, name: {"one": concurrency()}})
    assert found.use_cases is found.concurrencies
    assert list(found.model_dump()) == ["adapters", "concurrencies", "quant_updatable_mode", "form"]
    assert LoRAFeatureConfig.model_validate_json(found.model_dump_json()) == found


def test_both_names_at_once_are_refused(tmp_path):
    with pytest.raises(ValidationError, match="use_cases"):
        LoRAFeatureConfig.model_validate({"concurrencies": {}, "use_cases": {}})


def test_the_validators_have_the_documented_names():
    assert "_check_scaling_length" in LoRAConcurrencyConfig.__pydantic_decorators__.model_validators
    assert "_check_concurrency_adapter_refs" in LoRAFeatureConfig.__pydantic_decorators__.model_validators


@pytest.mark.parametrize("mode", ["adapter_only", "all", "none"])
def test_update_modes(mode):
    assert LoRAFeatureConfig(quant_updatable_mode=mode).quant_updatable_mode == mode
    with pytest.raises(ValidationError, match="Input should be 'adapter_only', 'all' or 'none'"):
        LoRAFeatureConfig(quant_updatable_mode=mode.upper())


def test_metadata_holds_peft_configs():
    peft = pytest.importorskip("peft")
    config = peft.LoraConfig(r=4, lora_alpha=8)
    metadata = LoRAAdapterMetadata(alpha_scalings={"a": [2.0]}, max_alpha_scale=2.0, peft_configs={"a": config})
    assert metadata.peft_configs["a"] is config
    assert list(LoRAAdapterMetadata.model_fields) == ["alpha_scalings", "max_alpha_scale", "peft_configs"]
    assert all(info.is_required() for info in LoRAAdapterMetadata.model_fields.values())


def test_importing_them_loads_neither_torch_nor_peft():
    heavy = "('torch', 'peft', 'transformers', 'numpy')"
    code = f"import sys, qairt.recipe.configs; print([m for m in {heavy} if m in sys.modules])"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "[]\n"
