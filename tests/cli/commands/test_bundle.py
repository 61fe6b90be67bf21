"""`qairt bundle check` and `qairt export --format`, on the output of a tiny model's stages."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from tiny_bundle import TinyModel, composed, edit, make_tiny


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> TinyModel:
    return make_tiny(tmp_path_factory.mktemp("tiny"))


@pytest.fixture
def bundle(tiny: TinyModel, place: Path) -> Path:
    return composed(tiny.onnx(), place / "out", "ort")


def test_a_good_bundle(qairt, bundle):
    said = qairt("bundle", "check", "out")
    assert (said.code, said.err) == (0, "")
    assert said.out.splitlines() == [
        "ok       files: 18 files match SHA256SUMS",
        "ok       config: genai_config.json: a pipeline of 8 graphs whose inputs all exist",
        "ok       room: at most 24 of 32 tokens may be the prompt: onnxruntime-genai pads it to a multiple of 8",
        "ok       tokenizer: 257 tokens, texts end with '<|end|>'",
        "out: no errors",
    ]


def test_a_fault_has_a_remedy(qairt, bundle):
    edit(bundle / "genai_config.json", "model", "vocab_size", value=300)
    (bundle / "positions.onnx").unlink()
    said = qairt("bundle", "check", "out")
    assert said.code == 1
    assert "ERROR    files: positions.onnx is missing\n           copy the bundle again, or export it" in said.out
    assert "model.vocab_size is 300, but the graphs have 260\n           write 260\n" in said.out
    assert said.out.endswith("out: 2 errors\n")


def test_json(qairt, bundle):
    said = qairt("bundle", "check", "out", "--json")
    assert said.code == 0
    assert said.data["ok"] is True
    assert {finding["subject"] for finding in said.data["findings"]} == {"files", "config", "room", "tokenizer"}
    (bundle / "tokenizer.json").unlink()
    said = qairt("bundle", "check", "out", "--json")
    assert (said.code, said.data["ok"]) == (1, False)
    assert said.data["findings"][0] == {
        "subject": "files",
        "status": "error",
        "text": "tokenizer.json is missing",
        "remedy": "copy the bundle again, or export it again: qairt export RECIPE DIR",
    }


def test_a_folder_that_is_no_bundle(qairt, place):
    (place / "other").mkdir()
    said = qairt("bundle", "check", "other")
    assert said.code == 1
    assert said.err == (
        "Error: other: it is not a bundle: it has no genie_config.json, genai_config.json or metadata.yaml\n"
        "  `qairt export RECIPE DIR` writes one\n"
    )
    assert json.dumps(said.out) == '""'
    assert qairt("bundle", "check", "nowhere").err.startswith("Error: nowhere: the folder does not exist\n")


def test_help_names_what_is_looked_at(qairt):
    assert "check  Check that a bundle is complete and consistent." in qairt("bundle", "--help").out
    assert "Exit code 1 if there is an error" in qairt("bundle", "check", "--help").out
