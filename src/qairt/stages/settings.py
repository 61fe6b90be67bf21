"""A recipe's top-level settings."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, PrivateAttr

from qairt.configs import EvaluatorConfig, GeneratorConfig, LoRAFeatureConfig


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
    cache_dir: str | None = None
    """Where work is kept; `qairt-cache/<recipe name>` in the working directory when left out."""
    verify: Literal["size", "full"] = "size"
    """How reused work is checked: by the presence and size of its files, or by the digest of every one."""
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
