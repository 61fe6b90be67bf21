"""Configuration models that several parts of a pipeline share."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, Self

from pydantic import (
    AliasChoices,
    BaseModel,
    ConfigDict,
    DirectoryPath,
    Field,
    SerializeAsAny,
    SkipValidation,
    StringConstraints,
    ValidatorFunctionWrapHandler,
    WrapValidator,
    model_validator,
)

from qairt.recipe.files import RecipeFile
from qairt.settings_model import SettingsModel

if TYPE_CHECKING:
    from peft import PeftConfig
else:
    PeftConfig = Any  # peft takes seconds to import, and only its objects are stored here


class EvaluatorConfig(SettingsModel):
    """How a model is evaluated. Each entry of `metrics` has a `name`; its other keys are that metric's arguments."""

    context_length: Annotated[int, Field(gt=1)] = 2048
    """Tokens per chunk of text. Default in a recipe: the context length of its graphs."""
    metrics: list[dict[str, Any]] = Field(default_factory=list)
    """Such as `{name: perplexity, dataset: text.txt, chunks: 12}`; `display_name` is the name of its score. Default:
    the perplexity on a built-in text."""
    output_dir: Annotated[str | None, RecipeFile("folder", output=True)] = None
    """A folder to which the scores of each evaluation are written as JSON, relative to the recipe's file."""


class GeneratorConfig(SettingsModel):
    """How text is generated."""

    context_length: Annotated[int, Field(gt=0)] | None = None
    """Tokens of prompt and answer together. Default: the longest context length of the graphs. Graphs of shorter ones
    run what fits them."""
    sequence_length: Annotated[int, Field(gt=0)] | None = None
    """The most tokens per call while a prompt is read: graphs of larger ARs are not used. Default: the largest AR."""


class ExporterConfig(SettingsModel):
    """Base of exporter settings."""


class OnnxExporterConfig(ExporterConfig):
    """How ONNX is exported."""

    args: dict[str, Any] = Field(default_factory=dict)


BASE = "base"
"""The model without adapters, which every bundle offers beside its concurrencies."""
_Name = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9][A-Za-z0-9_-]*$")]
"""The name of an adapter or a concurrency, which is also that of a folder."""


def _or_gguf(value: Any, as_folder: ValidatorFunctionWrapHandler) -> Path:
    if isinstance(value, str | Path) and Path(value).suffix == ".gguf" and Path(value).is_file():
        return Path(value)
    found: Path = as_folder(value)
    return found


class LoRAAdapterConfig(SettingsModel):
    """One LoRA adapter."""

    path: Annotated[DirectoryPath, WrapValidator(_or_gguf), RecipeFile("file or folder")]
    """A folder saved by PEFT, or a GGUF file of llama.cpp."""


class LoRAAdapterMetadata(BaseModel):
    """Facts about the adapters from loading the model, for later stages."""

    model_config = ConfigDict(arbitrary_types_allowed=True)

    alpha_scalings: dict[str, list[float]]
    """alpha / rank of each adapted module, by adapter."""
    max_alpha_scale: float
    peft_configs: dict[str, Annotated[SerializeAsAny[PeftConfig], SkipValidation]]
    """By adapter."""


class LoRAConcurrencyConfig(SettingsModel):
    """A group of adapters that are active together, and the text they are calibrated on."""

    adapters: list[str]
    calibration_dataset: Annotated[str, RecipeFile()]
    """A UTF-8 text file of the kind that they will process."""
    lora_scaling: list[Annotated[float, Field(allow_inf_nan=False)]]
    """One strength per adapter, in the same order; it multiplies the adapter's own alpha / rank."""

    @model_validator(mode="after")
    def _check_scaling_length(self) -> Self:
        if len(self.lora_scaling) != len(self.adapters):
            raise ValueError(
                f"lora_scaling has {len(self.lora_scaling)} values for {len(self.adapters)} adapters: give one for each"
            )
        if not self.adapters:
            raise ValueError(f"adapters is empty: name at least one (the model without adapters is always {BASE})")
        twice = sorted({name for name in self.adapters if self.adapters.count(name) > 1})
        if twice:
            raise ValueError(f"adapters names {', '.join(twice)} twice: name each once, and add up its scalings")
        return self


class LoRAFeatureConfig(SettingsModel):
    """LoRA as a feature of the pipeline."""

    model_config = ConfigDict(populate_by_name=True)

    adapters: dict[_Name, LoRAAdapterConfig] = Field(default_factory=dict)
    concurrencies: dict[_Name, LoRAConcurrencyConfig] = Field(
        default_factory=dict, validation_alias=AliasChoices("concurrencies", "use_cases")
    )
    """Also accepted as `use_cases`."""
    quant_updatable_mode: Literal["adapter_only", "all", "none"] = "adapter_only"
    """The encodings that each concurrency has of its own: those of the adapters, all, or none. They are written as
    files; binaries are those of `none`. The SDK's qairt-lora-importer makes others, by hand: see
    `qairt export --layout lora`."""
    form: Literal["inputs", "hot_switch"] = "inputs"
    """How graphs hold adapters. inputs: A and B are inputs of the graph, any adapter of the same ranks fits.
    hot_switch: all adapters are in the graph, and the strength of each can be set while it runs; an adapter that is
    added or retrained makes new graphs."""

    @model_validator(mode="after")
    def _check_concurrency_adapter_refs(self) -> Self:
        if BASE in self.concurrencies:
            raise ValueError(f"concurrencies.{BASE} is the model without adapters, which is always there: rename it")
        for name, concurrency in self.concurrencies.items():
            missing = [adapter for adapter in concurrency.adapters if adapter not in self.adapters]
            if missing:
                raise ValueError(
                    f"concurrencies.{name} uses {', '.join(missing)}, which adapters does not define"
                    f" (it defines {', '.join(self.adapters) or 'none'})"
                )
        return self

    @property
    def asks_for_own_encodings(self) -> bool:
        """Whether the recipe states that concurrencies change encodings; by default they may, where a toolchain can."""
        return "quant_updatable_mode" in self.model_fields_set and self.quant_updatable_mode != "none"

    @property
    def use_cases(self) -> dict[str, LoRAConcurrencyConfig]:
        """Another name of `concurrencies`."""
        return self.concurrencies
