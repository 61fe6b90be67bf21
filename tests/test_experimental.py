"""The documented dotted paths are aliases of the same objects; `import qairt` alone loads none of it."""

from __future__ import annotations

import importlib
import pickle
import subprocess
import sys

import pytest

TORCH = "qairt.experimental.pipeline.torch"
COMMON = f"{TORCH}.common"
PATHS = {
    "common.recipe": ("qairt.recipe", ["Recipe", "recipe_representer"]),
    "common.manifest": ("qairt.engine.cache.manifest", ["PipelineManifest"]),
    "common.cache": ("qairt.engine.cache.cache", ["StageCache"]),
    "common.configs": (
        "qairt.recipe.configs",
        [
            "EvaluatorConfig",
            "ExporterConfig",
            "GeneratorConfig",
            "LoRAAdapterConfig",
            "LoRAAdapterMetadata",
            "LoRAConcurrencyConfig",
            "LoRAFeatureConfig",
            "OnnxExporterConfig",
        ],
    ),
    "common.observers.profiler_observer": ("qairt.profiling.observer", ["StageProfilerObserver"]),
    "common.bases.stage": ("qairt.engine.stage", ["Stage", "StageConfig", "StageInput", "StageOutput"]),
    "common.bases.stage_observer": ("qairt.engine.observers", ["StageObserver"]),
    "common.bases.pipeline": ("qairt.engine.pipeline", ["Pipeline"]),
    "common.bases.stage_registry": ("qairt.engine.stage", ["register_stage"]),
    "llm.pipeline": ("qairt.llm", ["LLMPipeline"]),
    "llm.lora.configs": ("qairt.recipe.configs", ["LoRAAdapterConfig", "LoRAFeatureConfig"]),
    "llm.generation.generator": ("qairt.runtime.generator", ["Generator"]),
    "llm.quantization.recipes.registry": ("qairt.stages.technique_registry", ["RecipeRegistry"]),
    "llm.stages": ("qairt.stages", []),
    "llm.stages.model_loading_stage": ("qairt.stages.model_loading", ["ModelLoadingConfig"]),
    "llm.stages.quantization_stage": ("qairt.stages.quantization", ["QuantizationConfig"]),
}


@pytest.mark.parametrize("path", PATHS)
def test_the_same_objects(path):
    home, names = PATHS[path]
    alias = importlib.import_module(f"{TORCH}.{path}")
    original = importlib.import_module(home)
    for name in names:
        assert getattr(alias, name) is getattr(original, name)
        assert name in dir(alias)


def test_every_way_to_import():
    import qairt
    import qairt.experimental.pipeline.torch.common.recipe as as_module
    from qairt.experimental.pipeline.torch.common import configs
    from qairt.experimental.pipeline.torch.common.recipe import Recipe

    assert Recipe is qairt.Recipe is as_module.Recipe
    assert configs.EvaluatorConfig().context_length == 2048
    namespace: dict[str, object] = {}
    exec(f"from {COMMON}.bases.stage import *", namespace)
    assert namespace["StageConfig"] is qairt.StageConfig
    assert pickle.loads(pickle.dumps(Recipe(a=1))) == {"a": 1}


@pytest.mark.parametrize(
    ("path", "documented", "name"),
    [
        ("common.configs", "LoRAUseCaseConfig", "LoRAConcurrencyConfig"),
        ("llm.lora.configs", "LoRAUseCaseConfig", "LoRAConcurrencyConfig"),
        ("llm.generation.generator", "LLMGenerator", "Generator"),
        ("llm.stages.model_loading_stage", "ModelLoadingStage", "ModelLoading"),
        ("llm.stages.quantization_stage", "QuantizationStage", "Quantization"),
    ],
)
def test_classes_that_are_called_otherwise_here(path, documented, name):
    alias = importlib.import_module(f"{TORCH}.{path}")
    assert getattr(alias, documented) is getattr(alias, name)


def test_paths_that_do_not_exist():
    with pytest.raises(ModuleNotFoundError, match=r"common\.nothing"):
        importlib.import_module(f"{COMMON}.nothing")
    recipe = importlib.import_module(f"{COMMON}.recipe")
    with pytest.raises(AttributeError, match="nothing"):
        _ = recipe.nothing


def python(code: str) -> str:
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.strip()


def test_import_qairt_loads_little():
    heavy = "('torch', 'onnx', 'onnx_ir', 'onnxruntime', 'numpy', 'pydantic', 'yaml', 'psutil', 'qairt.experimental')"
    code = f"import sys, qairt; print([m for m in {heavy} if m in sys.modules], len(qairt.__all__) > 0)"
    assert python(code) == "[] True"


def test_public_names():
    import qairt

    for name in set(qairt.__all__) - {"__version__"}:
        assert getattr(qairt, name).__name__ == name
    assert set(qairt.__all__) <= set(dir(qairt))
    with pytest.raises(AttributeError, match="module 'qairt' has no attribute 'Recepie'"):
        _ = qairt.Recepie


def test_aliases_of_the_recipe_load_no_torch():
    code = f"import sys; from {COMMON}.recipe import Recipe; print([m for m in ('torch', 'onnx') if m in sys.modules])"
    assert python(code) == "[]"


@pytest.mark.parametrize(
    "package", ["pipeline", "pipeline.torch.common", "pipeline.torch.common.bases", "pipeline.torch.llm"]
)
def test_folders_in_between_are_empty_packages(package):
    module = importlib.import_module(f"qairt.experimental.{package}")
    assert module.__path__ == []


@pytest.mark.parametrize("path", PATHS)
def test_each_path_can_be_imported_first(path):
    home, names = PATHS[path]
    checks = " and ".join(f"alias.{name} is home.{name}" for name in names) or "dir(alias) == dir(home)"
    assert python(f"import {TORCH}.{path} as alias, {home} as home; print({checks})") == "True"
