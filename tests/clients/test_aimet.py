"""AIMET loads our encodings, and simulates what our graphs compute."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
from client_environment import environment, run_in
from tiny_recipe import write_recipe

from qairt import LLMPipeline
from qairt.stages.prepare_exports import BoundModel

pytestmark = pytest.mark.clients


@pytest.fixture(scope="module")
def python() -> Path:
    return environment("aimet", "aimet-onnx==2.42.0")


@pytest.fixture(scope="module")
def said(python, tmp_path_factory):
    """What `aimet_simulation.py` printed about the graph that reads eight tokens."""
    folder = tmp_path_factory.mktemp("aimet")
    pipeline = LLMPipeline.from_recipe(write_recipe(folder, backend="CPU"))
    run = pipeline.construct().finished()
    for item in run.items("prepare_exports"):
        prepared = run.output(item, BoundModel)
        for file in (prepared.onnx, prepared.weights, prepared.encodings):
            shutil.copy(file, folder)  # onnx.load refuses weights behind links
    done = run_in(python, Path(__file__).with_name("aimet_simulation.py"), "recipe.yaml", "ar8-cl32.onnx", cwd=folder)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout.splitlines()[-1])


def test_the_way_of_the_readme_is_what_our_graphs_compute(said):
    """Loaded without AIMET's constraints: `strict=True` has nothing against it."""
    found = said["as in the file"]
    assert "bitwidth: 8, loaded encoding bitwidth:16" in found["before"], "AIMET's settings before the file is loaded"
    assert found["after"] == ""
    assert found["sqnr_db"] > 50


def test_aimets_constraints_change_what_the_file_says(said):
    """They give a Concat's inputs its output's encoding: the new keys and values that of the cache."""
    found = said["constrained"]
    refused = {line.split(".", 2)[2] for line in found["after"].splitlines() if line.startswith("layers.")}
    assert refused == {"attn.v:", "attn.k.rotated:", "attn.k.rotated_first:", "attn.k.rotated_second:"}
    assert found["sqnr_db"] < said["as in the file"]["sqnr_db"]
