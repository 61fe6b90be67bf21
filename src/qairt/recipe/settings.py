"""A recipe's top-level settings."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field, PrivateAttr, field_validator, model_validator

from qairt.errors import RecipeError
from qairt.recipe.configs import EvaluatorConfig, GeneratorConfig, LoRAFeatureConfig
from qairt.recipe.files import RecipeFile
from qairt.settings_model import SettingsModel


def _lower(value: object) -> object:
    return value.lower() if isinstance(value, str) else value


def _backend(value: object) -> object:
    return value.upper() if isinstance(value, str) and value.upper() in ("HTP", "CPU") else value


LogLevel = Annotated[Literal["trace", "debug", "info", "warning", "error"], BeforeValidator(_lower)]


Keep = Literal["all", "results", "bundle"]


class MinSqnrConfig(SettingsModel):
    """The SQNR in dB that every output of a rung must reach, over all tokens except the text's first."""

    export: float = 60.0
    """The float graph built from the model."""
    prepare_exports: float = 60.0
    """The float graph with AR and CL fixed."""
    split_model: float = 100.0
    """The float parts."""
    mha_to_sha_conversion: float = 100.0
    """The float parts with single-head attention."""
    quantize: float = 6.0
    """The quantized parts on the float model's inputs: 4-bit weights reach 10 to 20 dB, 8-bit ones 30 and more."""
    htp_emulator: float = 6.0
    """The parts compiled for the NPU, in the emulator."""
    device: float = 6.0
    """The compiled parts on a device."""


class VerifyConfig(SettingsModel):
    """How results are checked."""

    artifacts: Literal["size", "full"] = "size"
    """How cached files are checked before they are reused. `size`: by size, and by content where a file has changed
    since it was last read. `full`: every byte."""
    min_sqnr_db: MinSqnrConfig = Field(default_factory=MinSqnrConfig)
    """Thresholds of `qairt verify`: one number for all rungs, or numbers by rung."""
    min_cpu_db: float = 20.0
    """The SQNR in dB that every output of a compiled part, emulated or on a device, must have against ONNX Runtime's
    CPU on the same graph and inputs; a difference of one step of the output's grid counts as none. Also what Genie's
    vectors must have against the CPU's, of an embedding model."""
    min_top1: Annotated[float | None, Field(ge=0, le=1)] = None
    """Fraction of tokens on which the whole quantized model must have the float model's most likely next token. Unset:
    0.8 for weights of 8 bits and more, 0.5 below."""
    max_kl: Annotated[float | None, Field(ge=0)] = None
    """Largest mean KL divergence of the whole quantized model's logits, in nats. Unset: 0.25 for weights of 8 bits and
    more, 0.8 below."""
    max_tie: Annotated[float, Field(ge=0)] = 0.5
    """Where Genie's token differs from the CPU's: the largest difference of their logits on the CPU that counts as a
    tie."""

    @model_validator(mode="before")
    @classmethod
    def _from_word(cls, value: object) -> object:
        return {"artifacts": value} if isinstance(value, str) else value

    @field_validator("min_sqnr_db", mode="before", json_schema_input_type=float | MinSqnrConfig)
    @classmethod
    def _from_number(cls, value: object) -> object:
        if isinstance(value, (int, float)) and not isinstance(value, bool):
            return dict.fromkeys(MinSqnrConfig.model_fields, value)
        return value


class ExecutionEnvironment(SettingsModel):
    """Where qairt itself computes; the results do not depend on it."""

    device: Annotated[str, Field(pattern=r"^(auto|cpu|cuda(:\d+)?)$")] = "auto"
    """The device for quantization and evaluation: `cpu`, `cuda`, `cuda:1`; `auto`: a GPU if torch can use one."""


class RecipeSettings(SettingsModel):
    """The settings that apply to all stages."""

    model_id_or_path: Annotated[str | None, RecipeFile("file or folder", or_hub_id=True)] = None
    """A Hugging Face folder or id, or a GGUF file; a path is relative to the recipe's file. Not needed if
    `stages.export` imports an ONNX graph."""
    backend: Annotated[Literal["HTP", "CPU"], BeforeValidator(_backend)] = "HTP"
    """HTP: DLCs and context binaries for the NPU. CPU: quantized ONNX that runs anywhere."""
    soc_details: str = "chipset:SM8650"
    """The chip to compile for, as `chipset:NAME`."""
    sdk_root: Annotated[str | None, RecipeFile("folder")] = None
    """The folder of a QAIRT SDK, for stages with `toolchain: sdk`. Default: `$QAIRT_SDK_ROOT` or `$QNN_SDK_ROOT`. Its
    programs run only after `qairt trust FOLDER`."""
    cache_dir: Annotated[str | None, RecipeFile("folder", output=True)] = None
    """Where finished work is cached. Default: `qairt-cache/<recipe name>` beside the recipe's file."""
    enable_cache: bool | None = None
    """Whether finished items are reused; of each stage unless it has its own setting. Default: true."""
    checkpoint: bool | None = None
    """Whether results are kept where `enable_cache` is false. Default: false."""
    keep: Keep | None = None
    """Which finished items keep their large files when nothing needs them any more; of each stage unless it has its own
    setting. all: all; results: those of interest by themselves, such as quantized graphs and binaries; bundle: what
    quantization chose, and the last stage's. The others are rebuilt when they are asked for. Default: all; results
    where what comes between takes more than 4 GB."""
    execution_environment: ExecutionEnvironment = Field(default_factory=ExecutionEnvironment)
    """Where qairt itself computes."""
    verify: VerifyConfig = Field(default_factory=VerifyConfig)
    """How results are checked; `size` or `full` is short for `artifacts: size` or `artifacts: full`."""
    log_level: LogLevel = "info"
    """The messages that a run shows: `warning` leaves notices out, `error` warnings too. `debug` and `trace` are the
    same as `info`: the details of an item are always in its own log."""
    enable_observers: bool = True
    """Record memory, CPU and GPU once a second while it runs."""
    suppress_performance_warnings: bool = False
    generator: GeneratorConfig = Field(default_factory=GeneratorConfig)
    evaluator: EvaluatorConfig = Field(default_factory=EvaluatorConfig)
    lora: LoRAFeatureConfig | None = None
    stages: dict[str, dict[str, Any] | None]
    """The stages in order, with their settings."""

    _missing_files: Mapping[str, RecipeError] = PrivateAttr(default_factory=dict)

    @property
    def missing_files(self) -> Mapping[str, RecipeError]:
        """By dotted setting: the error for a file that it names and that does not exist."""
        return self._missing_files

    def with_missing_files(self, missing: Mapping[str, RecipeError]) -> RecipeSettings:
        """These settings, of a recipe with `missing_files`."""
        self._missing_files = missing
        return self
