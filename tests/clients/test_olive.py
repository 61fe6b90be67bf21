"""Olive's `QairtPipelinePass`, as Olive publishes it, makes a bundle with this checkout."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
from client_environment import environment, run_in
from tiny_recipe import write_recipe

from qairt.cli.main import main
from qairt.recipe import Recipe
from qairt.recipe.files import shipped_recipes

pytestmark = pytest.mark.clients

RECIPE = """\
backend: HTP
soc_details: "chipset:SM8650"
enable_cache: true
log_level: info
generator_config: {sequence_length: 8, context_length: 32}
stages:
  model_loader: {model_reauthoring: true, apply_default_adaptations: true, execution_environment: gpu}
  quantization:
    recipe_name: own
    calibration_text: text.txt
    calibration_chunks: 4
    calibration_length: 48
  genai_builder:
    weight_sharing: true
    transform_options: {arn: [1, 8], split.num_splits: 3}
"""

PASS = """\
import sys
from olive.hardware import AcceleratorSpec
from olive.model import HfModelHandler
from olive.passes.olive_pass import create_pass_from_dict
from olive.passes.qairt.pipeline import QairtPipelinePass

if __name__ == "__main__":
    model, recipe, cache, out = sys.argv[1:]
    settings = {"recipe": recipe, "cache_dir": cache, "log_level": "DEBUG"}
    npu = AcceleratorSpec("npu", "QNNExecutionProvider")
    made = create_pass_from_dict(QairtPipelinePass, settings, disable_search=True, accelerator_spec=npu)
    print(type(made.run(HfModelHandler(model), out)).__name__)
"""


@pytest.fixture(scope="module")
def python() -> Path:
    return environment("olive", "olive-ai==0.13.0", "requests")  # Olive imports requests without asking for it


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    write_recipe(tmp_path)
    (tmp_path / "recipe.yaml").write_text(RECIPE)
    shutil.copy(shipped_recipes() / "quantization/lpbq_mse.yaml", tmp_path / "own.yaml")
    return tmp_path


@pytest.mark.compiler
def test_the_pass_ends_in_a_handler_with_a_bundle(python, folder):
    (folder / "run_pass.py").write_text(PASS)
    done = run_in(python, "run_pass.py", folder / "model", "recipe.yaml", "cache", "bundle", cwd=folder)
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[-1] == "QairtModelHandler"
    bundle = folder / "bundle"
    assert len(list(bundle.glob("*.bin"))) == 3
    assert {"config.json", "tokenizer.json", "genie_config.json"} <= {path.name for path in bundle.iterdir()}
    assert main(["bundle", "check", str(bundle)]) == 0
    kept = Recipe.from_file(folder / "cache/pipeline_state/recipe.yaml")
    assert kept["log_level"] == "DEBUG"
    assert kept["model_id_or_path"] == str(folder / "model")


@pytest.mark.compiler
def test_a_workflow_from_its_command_line(python, folder):
    workflow = {
        "input_model": {"type": "HFModel", "model_path": str(folder / "model")},
        "systems": {
            "npu": {
                "type": "LocalSystem",
                "accelerators": [{"device": "npu", "execution_providers": ["QNNExecutionProvider"]}],
            }
        },
        "target": "npu",
        "passes": {"p": {"type": "QairtPipelinePass", "recipe": str(folder / "recipe.yaml"), "cache_dir": "cache"}},
        "output_dir": "out",
        "cache_dir": "olive-cache",
    }
    (folder / "workflow.json").write_text(json.dumps(workflow))
    done = run_in(python, "-m", "olive", "run", "--config", "workflow.json", cwd=folder)
    assert done.returncode == 0, done.stdout + done.stderr
    assert len(list((folder / "out").rglob("*.bin"))) == 3


def test_a_conflict_of_models_is_olives_own_error(python, folder):
    (folder / "recipe.yaml").write_text(f"model_id_or_path: other\n{RECIPE}")
    (folder / "run_pass.py").write_text(PASS)
    done = run_in(python, "run_pass.py", folder / "model", "recipe.yaml", "cache", "bundle", cwd=folder)
    assert "Conflict between recipe model_id_or_path 'other' and input model path" in done.stderr
    assert not (folder / "cache").exists()
