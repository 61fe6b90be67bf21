"""A recipe's top-level settings."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, PrivateAttr, field_validator, model_validator

from qairt.errors import RecipeError
from qairt.recipe.configs import EvaluatorConfig, GeneratorConfig, LoRAFeatureConfig
from qairt.recipe.files import RecipeFile


class MinSqnrConfig(BaseModel):
    """Signal to noise ratio in dB that every output of a rung must reach, over all tokens but the text's first."""

    model_config = ConfigDict(extra="forbid")

    export: float = 60.0
    """The graph built from the model, in float."""
    prepare_exports: float = 60.0
    """The same with AR and CL bound."""
    split_model: float = 100.0
    """The float parts."""
    mha_to_sha_conversion: float = 100.0
    """The float parts with separate heads."""
    quantize: float = 6.0
    """The quantized parts, each on the float model's inputs: 4-bit weights reach 10 to 20, 8-bit ones 30 and more."""
    htp_emulator: float = 6.0
    """The same as the NPU's compiler makes them."""
    device: float = 6.0
    """The same on a device."""


class VerifyConfig(BaseModel):
    """How results are checked."""

    model_config = ConfigDict(extra="forbid")

    artifacts: Literal["size", "full"] = "size"
    """How reused work is checked: by the presence and size of its files, or by the digest of every one."""
    min_sqnr_db: MinSqnrConfig = Field(default_factory=MinSqnrConfig)
    """What `qairt verify` asks of each rung; one number for all of them, or some by name."""
    max_tie: Annotated[float, Field(ge=0)] = 0.5
    """Where Genie's token is another than the CPU's, how much larger the CPU's logit of its own may be: up to this, the
    two were nearly equal, and rounding decided."""

    @model_validator(mode="before")
    @classmethod
    def _plain_word(cls, value: object) -> object:
        return {"artifacts": value} if isinstance(value, str) else value

    @field_validator("min_sqnr_db", mode="before", json_schema_input_type=float | MinSqnrConfig)
    @classmethod
    def _one_number(cls, value: object) -> object:
        if isinstance(value, (int, float)) and not isinstance(value, bool):
            return dict.fromkeys(MinSqnrConfig.model_fields, value)
        return value


class ExecutionEnvironment(BaseModel):
    """Where qairt itself computes, as far as the results do not depend on it."""

    model_config = ConfigDict(extra="forbid")

    device: Annotated[str, Field(pattern=r"^(auto|cpu|cuda(:\d+)?)$")] = "auto"
    """What quantization and evaluation run on: `cpu`, `cuda`, `cuda:1`; auto is a GPU where torch can use one."""


class RecipeSettings(BaseModel):
    """The settings that apply to all stages."""

    model_config = ConfigDict(extra="forbid")

    model_id_or_path: Annotated[str | None, RecipeFile("file or folder", or_hub_id=True)] = None
    """A Hugging Face folder or id, or a GGUF file; a path is relative to the recipe's file. Left out when
    `stages.export` takes an external ONNX graph."""
    backend: Literal["HTP", "CPU"] = "HTP"
    """HTP: DLCs and context binaries for the NPU. CPU: quantized ONNX that runs anywhere."""
    soc_details: str = "chipset:SM8650"
    """The chip to compile for, as `chipset:NAME`."""
    sdk_root: Annotated[str | None, RecipeFile("folder")] = None
    """The folder of a QAIRT SDK, for stages with `toolchain: sdk`; `$QAIRT_SDK_ROOT` when left out."""
    cache_dir: str | None = None
    """Where finished work is kept, relative to the working directory; `qairt-cache/<recipe name>` when left out."""
    execution_environment: ExecutionEnvironment = Field(default_factory=ExecutionEnvironment)
    """Which device qairt computes on."""
    verify: VerifyConfig = Field(default_factory=VerifyConfig)
    """How results are checked; `size` or `full` alone is the same as `artifacts: size` or `artifacts: full`."""
    suppress_performance_warnings: bool = False
    generator: GeneratorConfig = Field(default_factory=GeneratorConfig)
    evaluator: EvaluatorConfig = Field(default_factory=EvaluatorConfig)
    lora: LoRAFeatureConfig | None = None
    stages: dict[str, dict[str, Any] | None]
    """The stages in order; each has its own settings."""

    _missing_files: Mapping[str, RecipeError] = PrivateAttr(default_factory=dict)

    @property
    def missing_files(self) -> Mapping[str, RecipeError]:
        """By dotted setting: the error for a file that it names and that does not exist."""
        return self._missing_files

    def with_missing_files(self, missing: Mapping[str, RecipeError]) -> RecipeSettings:
        """These settings, of a recipe with `missing_files`."""
        self._missing_files = missing
        return self
