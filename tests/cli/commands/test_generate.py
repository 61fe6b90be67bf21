"""`qairt generate` and `qairt export` on a real run of a tiny model; on one that is not finished."""

from __future__ import annotations

import hashlib
import json
import os
import sys
from pathlib import Path

import pytest
from ort_package import read_package, supported
from tiny_recipe import write_recipe

from qairt.cli.main import main

SUMS = "SHA256SUMS"


@pytest.fixture(scope="module")
def recipe(tmp_path_factory, request):
    """A finished run for backend CPU."""
    folder = tmp_path_factory.mktemp("finished")
    path = write_recipe(folder, backend="CPU")
    assert main(["run", str(path), "--cache-dir", str(folder / "cache")]) == 0
    return path, "--cache-dir", str(folder / "cache")


def test_an_answer_is_streamed_and_its_cost_goes_to_standard_error(qairt, recipe):
    path, *cache = recipe
    said = qairt("generate", path, "Hello", "--max-new-tokens", "3", *cache)
    assert said.code == 0
    assert said.out.endswith("\n")
    assert " prompt tokens in " in said.err
    assert said.err.endswith("(cut off: --max-new-tokens)\n") or " tokens" in said.err


def test_json_and_the_prompt_from_standard_input(qairt, recipe, monkeypatch):
    import io

    path, *cache = recipe
    words = ("--max-new-tokens", "3", "--json", *cache)
    given = qairt("generate", path, "Hello", *words).data
    monkeypatch.setattr(sys, "stdin", io.StringIO("Hello"))
    piped = qairt("generate", path, "-", *words).data
    assert piped["tokens"] == given["tokens"]
    assert given["target"] == "cpu"
    assert given["prompt_tokens"] > 5, "the chat template is around it"
    assert qairt("generate", path, "Hello", "--raw", *words).data["prompt_tokens"] == 5


def test_a_state_shortens_reading_and_changes_no_token(qairt, recipe, place):
    path, *cache = recipe
    words = ("--raw", "--max-new-tokens", "3", "--json", *cache)
    first, second = "The quick fox and", "The quick fox or"
    plain = qairt("generate", path, second, *words).data
    assert qairt("generate", path, first, "--save-state", "a.state", *words).data["reused_tokens"] == 0
    found = qairt("generate", path, second, "--load-state", "a.state", *words)
    assert (found.code, found.data["reused_tokens"]) == (0, len("The quick fox "))
    assert found.data["tokens"] == plain["tokens"]
    said = qairt("generate", path, second, "--load-state", "a.state", "--raw", "--max-new-tokens", "2", *cache)
    assert said.err.startswith("16 prompt tokens (14 of them saved) in ")
    said = qairt("generate", path, "Another one", "--load-state", "a.state", "--raw", "--max-new-tokens", "2", *cache)
    assert "Note: nothing of a.state was reused: the prompt begins with other tokens, or " in said.err


def test_an_answer_whose_state_cannot_be_saved_is_told(qairt, recipe, place):
    path, *cache = recipe
    words = ("--raw", "--max-new-tokens", "1000", "--save-state", "full.state", *cache)
    said = qairt("generate", path, "The quick fox", "--json", *words)
    assert (said.code, said.data["stop_reason"]) == (2, "context")
    assert len(said.data["tokens"]) > 1
    assert said.data["error"]["where"] == "--save-state"
    assert said.err.startswith("Error: --save-state: the context is full: of its ")
    assert not (place / "full.state").exists()


@pytest.mark.parametrize(
    ("words", "code", "err"),
    [
        (
            ["--load-state", "none.state"],
            2,
            "Error: none.state: it cannot be read: No such file or directory\n"
            "  write it again with --save-state, or leave --load-state out\n",
        ),
        (
            ["--save-state", "none/a.state"],
            2,
            "Error: --save-state: none/a.state is a folder, or in a folder that does not exist\n"
            "  give the name of a file in an existing folder\n",
        ),
        (
            ["--load-state", "a.state", "--target", "torch"],
            2,
            "Error: --load-state: target torch has no state to save or load\n"
            "  use --target cpu; Genie saves a conversation with run_genie.sh --save in a bundle\n",
        ),
    ],
)
def test_states_that_cannot_be(qairt, recipe, words, code, err):
    path, *cache = recipe
    said = qairt("generate", path, "Hello", *words, *cache)
    assert (said.code, said.err) == (code, err)


def test_the_float_model_answers_too(qairt, recipe):
    path, *cache = recipe
    said = qairt("generate", path, "Hi", "--target", "torch", "--max-new-tokens", "2", "--json", *cache)
    assert (said.code, said.data["target"]) == (0, "torch")


@pytest.mark.parametrize(
    ("words", "err"),
    [
        (["Hi", "--top-p", "7"], "Error: top_p: 7.0 is out of range\n  allowed: above 0 and at most 1\n"),
        ([""], "Error: prompt: the prompt is empty\n  give a prompt\n"),
    ],
)
def test_settings_out_of_range(qairt, recipe, words, err):
    path, *cache = recipe
    said = qairt("generate", path, *words, *cache)
    assert (said.code, said.err) == (2, err)


def test_before_a_run_it_names_the_command_to_run(qairt, recipe):
    path = recipe[0]
    said = qairt("generate", path, "Hi", "--cache-dir", "fresh")
    assert said.code == 1
    assert f"  qairt run {path} --cache-dir {Path.cwd() / 'fresh'}\n" in said.err
    said = qairt("export", path, "out", "--cache-dir", "fresh")
    assert said.code == 1
    assert said.err.startswith("Error: export_bundle all: it is not built yet")
    assert said.err.endswith(f"  qairt run {path} --cache-dir {Path.cwd() / 'fresh'}\n")


def test_export_copies_and_compares(qairt, recipe, place):
    path, *cache = recipe
    said = qairt("export", path, "out", *cache)
    assert said.code == 0
    sums = dict(reversed(line.split("  ")) for line in (place / "out" / SUMS).read_text().splitlines())
    for name, digest in sums.items():
        copied = place / "out" / name
        assert hashlib.sha256(copied.read_bytes()).hexdigest() == digest
        assert os.stat(copied).st_nlink == 1, "shared with the cache"
    said = qairt("export", path, "out", *cache)
    assert (said.code, said.err) == (1, "Error: out: it exists and is not empty\n  give a new folder\n")
    assert json.loads(qairt("export", path, "out2", "--json", *cache).out)["bytes"] > 0


def test_a_recipe_without_bundle(qairt):
    said = qairt("export", "toy.yaml", "out")
    assert (said.code, said.err) == (
        2, "Error: toy.yaml:3: the recipe has no stage export_bundle\n"
        "  add export_bundle to its stages\n",
    )  # fmt: skip


def test_a_model_package_is_read_by_onnxruntime_and_holds_the_bundle(qairt, recipe, place):
    path, *cache = recipe
    said = qairt("export", path, "model.ortpackage", "--layout", "package", *cache)
    assert said.code == 0
    assert qairt("export", path, "plain", *cache).code == 0
    bundle = place / "model.ortpackage" / "models" / "model" / "cpu"
    assert (bundle / SUMS).read_bytes() == (place / "plain" / SUMS).read_bytes()
    assert qairt("bundle", "check", "model.ortpackage").out == qairt("bundle", "check", str(bundle)).out.replace(
        str(bundle), "model.ortpackage"
    )
    if supported():
        assert read_package(place / "model.ortpackage") == {"components": {"model": {"cpu": "CPUExecutionProvider"}}}
        assert "manifest.json" in read_package(bundle)["error"]
    said = qairt("export", path, "other", "--layout", "package", "--format", "genie", *cache)
    assert (said.code, said.err) == (2, "Error: --format: a model package holds the ort bundle\n  leave --format out\n")
