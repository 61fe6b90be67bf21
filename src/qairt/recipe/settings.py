"""A recipe's top-level settings."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, PrivateAttr, field_validator, model_validator

from qairt.recipe.configs import EvaluatorConfig, GeneratorConfig, LoRAFeatureConfig


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


class Settings(BaseModel):
    """What holds for all stages."""

    model_config = ConfigDict(extra="forbid")

    model_id_or_path: str | None = None
    """A Hugging Face folder or id, or a GGUF file. A relative path is looked up from the working directory, then
    beside the recipe. Left out when `stages.export` takes a foreign ONNX."""
    backend: Literal["HTP", "CPU"] = "HTP"
    """HTP: DLCs and context binaries for the NPU. CPU: quantized ONNX that runs anywhere."""
    soc_details: str = "chipset:SM8650"
    """The chip to compile for, as `chipset:NAME`."""
    sdk_root: str | None = None
    """The folder of a QAIRT SDK, for stages with `toolchain: sdk`; `$QAIRT_SDK_ROOT` when left out."""
    cache_dir: str | None = None
    """Where work is kept; `qairt-cache/<recipe name>` in the working directory when left out."""
    execution_environment: ExecutionEnvironment = Field(default_factory=ExecutionEnvironment)
    """Which device computes."""
    verify: VerifyConfig = Field(default_factory=VerifyConfig)
    """How results are checked; `size` or `full` alone is the same as `artifacts: size` or `artifacts: full`."""
    suppress_performance_warnings: bool = False
    generator: GeneratorConfig = Field(default_factory=GeneratorConfig)
    evaluator: EvaluatorConfig = Field(default_factory=EvaluatorConfig)
    lora: LoRAFeatureConfig | None = None
    stages: dict[str, dict[str, Any] | None]
    """The stages in order; each has its own settings."""

    _recipe_folder: Path | None = PrivateAttr(default=None)

    @property
    def recipe_folder(self) -> Path | None:
        """The folder of the recipe's file; files it names are looked up there too."""
        return self._recipe_folder

    def found_in(self, folder: Path | None) -> Settings:
        """These settings, read from a file in `folder`."""
        self._recipe_folder = folder
        return self
