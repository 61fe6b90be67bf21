"""What Genie refuses in its own words, and what is refused before: binaries, prompts, tokenizers, recipes."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

import pytest
import qnn_calls
from genie_run import bare, command, quantized_run
from tiny_recipe import write_model

from qairt.errors import CacheError, GenerationError, ModelError, RecipeError, ToolchainError
from qairt.llm import LLMPipeline
from qairt.model.tokenizer import Tokenizer
from qairt.runtime.genie import require_same_tokens
from qairt.toolchain.genie import dialog as genie
from qairt.toolchain.soc import SOCS

pytest.importorskip("onnxruntime_qnn")
pytestmark = pytest.mark.compiler


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> LLMPipeline:
    return quantized_run(tmp_path_factory.mktemp("genie"))


@pytest.fixture(scope="module")
def config(finished: LLMPipeline) -> dict[str, Any]:
    """Of a dialog with all binaries made."""
    model = finished.genie_model()
    return model.genie_config(model.binaries.build(lambda line: None))


def test_a_part_that_is_missing(config: dict[str, Any]):
    changed = json.loads(json.dumps(config))
    del changed["dialog"]["engine"]["model"]["binary"]["ctx-bins"][0]
    complaints = genie.try_dialog(changed)
    assert any(line.endswith("ar1_cl32_2_of_3 : input_ids - Tensor not found") for line in complaints)


def test_shapes_that_do_not_fit(config: dict[str, Any]):
    changed = json.loads(json.dumps(config))
    changed["dialog"]["engine"]["backend"]["QnnHtp"]["pos-id-dim"] = 16
    assert any("position_ids_cos - Expected [ 1, 1, 16]" in line for line in genie.try_dialog(changed))


def test_a_tokenizer_that_is_missing(config: dict[str, Any], tmp_path: Path):
    changed = json.loads(json.dumps(config))
    changed["dialog"]["tokenizer"]["path"] = "tokenizer.json"
    complaints = genie.try_dialog(changed, folder=tmp_path)
    assert "ResourceManager failed to load tokenizer from: tokenizer.json" in complaints
    assert genie.try_dialog(config) == []


def test_a_binary_with_two_graphs_is_never_loaded(finished: LLMPipeline, config: dict[str, Any], tmp_path: Path):
    both = [parts[0] for parts in finished.quantized_parts().values()]
    graphs = [(part.onnx, part.signature.graph_name) for part in both]
    made = qnn_calls.link(graphs, tmp_path, binary_name="two.bin", soc=SOCS["SM8650"]).binary
    changed = json.loads(json.dumps(config))
    changed["dialog"]["engine"]["model"]["binary"]["ctx-bins"][0] = "two.bin"
    (complaint,) = genie.try_dialog(changed, folder=tmp_path)
    assert complaint.startswith("two.bin: it holds 2 graphs (ar1_cl32_1_of_3, ar8_cl32_1_of_3); on x86 the vendor's")
    with pytest.raises(ToolchainError, match="so it is not loaded\n  here use binaries of one graph each"):
        genie.Dialog(changed, folder=tmp_path)
    assert made.is_file()


# Prompts and recipes that cannot work


def test_a_prompt_that_is_too_long_is_known_before_anything_is_made(finished: LLMPipeline, tmp_path: Path):
    own = bare(finished, tmp_path)
    words = ("generate", own.recipe.source, "a" * 40, "--raw", "--target", "genie", "--cache-dir", own.cache_dir)
    code, out, err = command(*words)
    assert (code, out) == (2, "")
    assert err.startswith("Error: prompt: 40 tokens do not fit: the context holds 32, including the first new one\n")
    assert own.genie_model().binaries.missing() == 3


def test_a_model_that_genie_cannot_run_is_refused_before_anything_is_made(finished: LLMPipeline, tmp_path: Path):
    model = bare(finished, tmp_path).genie_model()
    other = dataclasses.replace(model, config=model.config.model_copy(update={"num_kv_heads": 1, "head_dim": 18}))
    asked = {"max_new_tokens": 2, "chat": False, "notify": lambda line: None}
    for attempt in (lambda: other.answer("Hello", None, **asked), lambda: other.dialog(lambda line: None)):
        with pytest.raises(ModelError, match="is not a multiple of 8\n  use --target cpu or "), attempt():
            pass
    assert model.binaries.missing() == 3


def test_a_prompt_with_a_nul(finished: LLMPipeline, tmp_path: Path):
    model = bare(finished, tmp_path).genie_model()
    asked = {"max_new_tokens": 2, "chat": False, "notify": lambda line: None}
    with pytest.raises(GenerationError, match="NUL character"), model.answer("a\0b", None, **asked):
        pass
    assert model.binaries.missing() == 3


def test_a_seed_that_genie_does_not_take(finished: LLMPipeline, tmp_path: Path):
    own = bare(finished, tmp_path)
    words = ("generate", own.recipe.source, "Hi", "--target", "genie", "--cache-dir", own.cache_dir)
    code, out, err = command(*words, "--temperature", "1", "--seed", 1 << 31)
    assert (code, out) == (2, "")
    assert err == "Error: seed: 2147483648 is out of range\n  use 0 to 2147483647\n"
    assert own.genie_model().binaries.missing() == 3


def test_a_tokenizer_of_another_model(finished: LLMPipeline, tmp_path: Path):
    model = finished.genie_model()
    other = write_model(tmp_path / "other")
    stated = json.loads((other / "tokenizer.json").read_text())
    vocabulary = stated["model"]["vocab"]
    vocabulary["H"], vocabulary["e"] = vocabulary["e"], vocabulary["H"]
    (other / "tokenizer.json").write_text(json.dumps(stated))
    wrong = dataclasses.replace(model, tokenizer_file=other / "tokenizer.json")
    asked = {"max_new_tokens": 2, "chat": False, "notify": lambda line: None}
    with (
        pytest.raises(GenerationError, match=r"they differ from token 1 on\n  Genie does not support this kind"),
        wrong.answer("Hello", None, **asked),
    ):
        pass
    stated["added_tokens"][0]["id"] = vocabulary["<|end|>"] = 7000
    (other / "tokenizer.json").write_text(json.dumps(stated))
    larger = dataclasses.replace(model, tokenizer=Tokenizer.from_directory(other))
    with (
        pytest.raises(ModelError, match="token 7000 is not in the model's vocabulary of 260"),
        larger.answer("Hello<|end|>", None, **asked),
    ):
        pass


def test_a_prompt_that_goes_on_in_one_tokenizer_only():
    require_same_tokens([5, 6], [5, 6])
    with pytest.raises(GenerationError, match="Genie's tokenizer gives 3 tokens for the prompt, the model's 2"):
        require_same_tokens([5, 6], [5, 6, 7])


@pytest.mark.parametrize(
    ("override", "error", "says"),
    [
        ("stages.prepare_exports.arn=[8]", RecipeError, "needs graphs of AR 1, the recipe builds AR 8\n  add 1 to arn"),
        ("backend=CPU", RecipeError, "backend: CPU builds none"),
        ("stages.prepare_exports.context_length=64", CacheError, "3 of 3 parts are not quantized yet"),
        ("generator.context_length=64", RecipeError, "no graph has context length 64\n  the recipe builds 32"),
    ],
)
def test_recipes_that_give_genie_nothing(finished: LLMPipeline, override: str, error: type[Exception], says: str):
    other = LLMPipeline.from_recipe(finished.recipe.source, [override], cache_dir=finished.cache_dir)
    with pytest.raises(error, match=says.replace("\n", r"\n")):
        other.genie_model()
