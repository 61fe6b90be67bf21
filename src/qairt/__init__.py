"""One YAML recipe in, an LLM that runs on a Hexagon NPU out.

The public names are imported when they are first used: `import qairt` loads no torch, ONNX or compiler.
"""

from __future__ import annotations

import importlib

from qairt.version import __version__

TYPE_CHECKING = False  # importing `typing` for it would be most of the time that `import qairt` takes
if TYPE_CHECKING:
    from qairt.engine.cache.cache import StageCache
    from qairt.engine.cache.manifest import PipelineManifest
    from qairt.engine.observers import StageObserver
    from qairt.engine.pipeline import Pipeline
    from qairt.engine.run.options import RunOptions
    from qairt.engine.stage import Stage, StageConfig, StageInput, StageOutput, register_stage
    from qairt.errors import ContractViolation, ItemFailed, QairtError, RecipeError, ToolchainNotAvailable
    from qairt.llm import LLMPipeline
    from qairt.profiling import ResourceProfiler, StageProfilerObserver
    from qairt.recipe import Recipe


_HOMES = {
    "ContractViolation": "qairt.errors",
    "ItemFailed": "qairt.errors",
    "LLMPipeline": "qairt.llm",
    "Pipeline": "qairt.engine.pipeline",
    "PipelineManifest": "qairt.engine.cache.manifest",
    "QairtError": "qairt.errors",
    "Recipe": "qairt.recipe",
    "RecipeError": "qairt.errors",
    "ResourceProfiler": "qairt.profiling",
    "RunOptions": "qairt.engine.run.run",
    "Stage": "qairt.engine.stage",
    "StageCache": "qairt.engine.cache.cache",
    "StageConfig": "qairt.engine.stage",
    "StageInput": "qairt.engine.stage",
    "StageObserver": "qairt.engine.observers",
    "StageOutput": "qairt.engine.stage",
    "StageProfilerObserver": "qairt.profiling",
    "ToolchainNotAvailable": "qairt.errors",
    "register_stage": "qairt.engine.stage",
}

__all__ = [
    "ContractViolation",
    "ItemFailed",
    "LLMPipeline",
    "Pipeline",
    "PipelineManifest",
    "QairtError",
    "Recipe",
    "RecipeError",
    "ResourceProfiler",
    "RunOptions",
    "Stage",
    "StageCache",
    "StageConfig",
    "StageInput",
    "StageObserver",
    "StageOutput",
    "StageProfilerObserver",
    "ToolchainNotAvailable",
    "__version__",
    "register_stage",
]


def __getattr__(name: str) -> object:
    if name in _HOMES:
        return getattr(importlib.import_module(_HOMES[name]), name)
    raise AttributeError(f"module 'qairt' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *_HOMES})
