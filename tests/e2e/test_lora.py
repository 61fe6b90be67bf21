"""One recipe, three peft adapters, two concurrencies, one bundle: the vendor's runtimes give the CPU's tokens for the
base and both concurrencies, switched between queries in one process."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import peft
import pytest
import torch
import yaml
from adapted_recipe import write_adapted_recipe
from genie_run import command
from transformers import AutoModelForCausalLM

from qairt.engine.run.options import RunOptions
from qairt.errors import RecipeError
from qairt.evaluate.perplexity import perplexity
from qairt.llm import LLMPipeline
from qairt.model.lora.adapter import read_adapter
from qairt.model.lora.shape import branch_values, shape_of
from qairt.quant.encodings import Encodings
from qairt.quant.encodings_json import read_encodings
from qairt.results.concurrency import stored_branches
from qairt.runtime.chain import PartChain
from qairt.stages.facts import open_quantized
from qairt.stages.quantization import Quantized

IDS = [39, 68, 75, 75, 78]
NAMES = ["base", "french", "both"]
ACTIVE = {"french": {"french": 1.0}, "both": {"poems": 0.7, "brief": 0.5}}


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> LLMPipeline:
    folder = tmp_path_factory.mktemp("lora")
    recipe = write_adapted_recipe(folder, std=0.15, technique="lpbq.yaml", hidden_size=128, intermediate_size=192)
    content = yaml.safe_load(recipe.read_text())
    for stage in ("convert", "generate_context_binary", "export_bundle"):
        del content["stages"][stage]
    recipe.write_text(yaml.safe_dump(content, sort_keys=False))
    made = LLMPipeline.from_recipe(recipe, cache_dir=folder / "cache").construct(RunOptions(executor="inline"))
    assert made.status == "done", made.failed
    return made


@pytest.fixture(scope="module")
def tokens(finished: LLMPipeline) -> dict[str, tuple[int, ...]]:
    """By concurrency, what the CPU answers on the AR-1 parts, which Genie runs."""
    run, found = finished.finished(), {}
    for name in NAMES:
        with PartChain({1: run.quantized_parts[1]}, run.config, branches=stored_branches(run, name)) as chain:
            answer = [int(chain.prefill(IDS).argmax())]
            while len(answer) < 8:
                answer.append(int(chain.decode(answer[-1]).argmax()))
        found[name] = tuple(answer)
    assert len(set(found.values())) == 3, "adapters that do not show would prove nothing"
    return found


def test_the_float_model_with_a_concurrency_is_pefts(finished: LLMPipeline):
    """The oracle: PEFT's own model with these adapters at these strengths."""
    folder = finished.recipe.source.parent
    base = AutoModelForCausalLM.from_pretrained(folder / "model").eval()
    model = peft.PeftModel.from_pretrained(base, folder / "french", adapter_name="french")
    for name in ("poems", "brief"):
        model.load_adapter(folder / name, adapter_name=name)
    for name in NAMES:
        strengths = ACTIVE.get(name, {})
        model.base_model.set_adapter([*strengths])
        for layer in model.modules():
            if isinstance(layer, peft.tuners.lora.LoraLayer):
                for adapter in strengths.keys() & layer.scaling.keys():
                    layer.set_scale(adapter, strengths[adapter])
        with torch.no_grad(), finished.generator("torch", concurrency=name) as ours:
            expected = (model if strengths else model.get_base_model())(torch.tensor([IDS])).logits[0, -1].numpy()
            if not strengths:
                with model.disable_adapter():
                    expected = model(torch.tensor([IDS])).logits[0, -1].numpy()
            found = ours.prefill(IDS)
        error = 10 * np.log10(np.square(expected).sum() / np.square(expected - found).sum())
        assert error > 100, name


@pytest.mark.compiler
def test_genie_switches_between_queries_and_says_what_the_cpu_says(finished: LLMPipeline, tokens: dict):
    pytest.importorskip("onnxruntime_qnn")
    with finished.genie_model("french").dialog(lambda line: None, endless=True) as dialog:
        assert tuple(dialog.query_tokens(IDS, max_tokens=8)) == tokens["french"]
        for name in ("base", "both", "base", "french"):
            dialog.apply(name)
            assert tuple(dialog.query_tokens(IDS, max_tokens=8)) == tokens[name]


@pytest.mark.compiler
def test_the_command_line_takes_a_concurrency_for_genie(finished: LLMPipeline):
    pytest.importorskip("onnxruntime_qnn")
    words = ("generate", finished.recipe.source, "Hi", "--concurrency", "both", "--max-new-tokens", "3", "--json")
    answers = [
        json.loads(command(*words, "--target", target, "--cache-dir", finished.cache_dir)[1])
        for target in ("cpu", "genie")
    ]
    assert [answer["concurrency"] for answer in answers] == ["both", "both"]
    assert answers[0]["tokens"] == answers[1]["tokens"]


def test_python_generates_and_evaluates_by_concurrency(finished: LLMPipeline):
    answers = {name: finished.generate("Hi", concurrency=name, max_new_tokens=4).tokens for name in NAMES}
    assert len(set(answers.values())) == 3
    scores = {
        (name, target): finished.evaluate(target, metrics=["perplexity"], chunks=2, concurrency=name)["perplexity"]
        for name in NAMES[1:]
        for target in ("torch", "quantsim", "cpu")
    }
    for name in NAMES[1:]:
        assert scores[name, "quantsim"] == pytest.approx(scores[name, "cpu"], rel=0.02)
    _, record = finished.evaluation(metrics=["kl_divergence"], chunks=2, concurrency="both")
    assert (record.concurrency, record.metrics["kl_divergence"].dataset) == ("both", "poems.txt")


def test_an_adapter_is_trained_further_on_the_quantized_weights(finished: LLMPipeline, tmp_path: Path):
    """The loss is that of the quantized weights with the adapter, it falls, and what is written is peft's."""
    folder = finished.recipe.source.parent
    out = tmp_path / "tuned"
    words = ("lora", "tune", finished.recipe.source, "french", "--data", folder / "text.txt", "--out", out)
    settings = ("--steps", "8", "--length", "48", "--rate", "0.02", "--cache-dir", finished.cache_dir)
    code, printed, told = command(*words, *settings, "--json")
    assert code == 0, told
    assert told.startswith("8 steps of 2 sequences of 48 tokens on cpu: about ")
    losses = json.loads(printed)
    assert losses["loss_after"] < 0.98 * losses["loss_before"]

    run = finished.finished()
    quantized = run.only_output("quantization", Quantized)
    parameters = open_quantized(folder / "model", run.config, quantized.changed_weights, None)
    weights = Encodings(params=read_encodings(quantized.encodings.read_text()).params)
    ids = run.tokenizer.encode((folder / "text.txt").read_text())
    held_out = [np.asarray(ids[start : start + 48]) for start in (0, 48)]
    base = AutoModelForCausalLM.from_pretrained(folder / "model")
    for path, loss in ((folder / "french", losses["loss_before"]), (out, losses["loss_after"])):
        assert type(peft.PeftModel.from_pretrained(base, path)).__name__ == "PeftModel"
        adapter = read_adapter("french", path, run.config)
        shape = shape_of(run.config, [["french"]], {"french": adapter.ranks})
        branches = branch_values(shape, [(adapter, 1.0)], parameters)
        assert np.log(perplexity(parameters, weights, held_out, branches=branches)) == pytest.approx(loss, rel=1e-4)

    again = command(*words, *settings)
    assert again[0] != 0
    assert f"{out}: it exists and is not empty" in again[2]
    unknown = command("lora", "tune", finished.recipe.source, "german", "--data", folder / "text.txt", *settings[-2:])
    assert "the recipe has no adapter german" in unknown[2]


def test_an_unknown_concurrency(finished: LLMPipeline):
    recipe = Path(str(finished.recipe.source))
    line = next(n for n, text in enumerate(recipe.read_text().splitlines(), 1) if text.strip() == "concurrencies:")
    with pytest.raises(RecipeError) as error:
        finished.generate("Hi", concurrency="german")
    assert str(error.value) == f"{recipe}:{line}: there is no concurrency german\n  the recipe has base, french, both"
