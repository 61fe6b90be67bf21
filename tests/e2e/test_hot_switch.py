"""One recipe with `form: hot_switch`: all adapters in the graphs, switched and weighed by one small input."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import peft
import pytest
import torch
import yaml
from adapted_recipe import write_adapted_recipe
from genie_run import command
from tiny_adapters import rewrite_tensors
from transformers import AutoModelForCausalLM

from qairt.engine.run.options import RunOptions
from qairt.errors import RecipeError
from qairt.llm import LLMPipeline
from qairt.results.concurrency import stored_branches, with_strengths
from qairt.runtime.chain import PartChain
from qairt.runtime.metrics import sqnr_db

IDS = [39, 68, 75, 75, 78]
NAMES = ["base", "french", "both"]


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> LLMPipeline:
    folder = tmp_path_factory.mktemp("switched")
    recipe = write_adapted_recipe(
        folder, std=0.15, form="hot_switch", technique="lpbq.yaml", hidden_size=128, intermediate_size=192
    )
    content = yaml.safe_load(recipe.read_text())
    for stage in ("convert", "generate_context_binary", "export_bundle"):
        del content["stages"][stage]
    recipe.write_text(yaml.safe_dump(content, sort_keys=False))
    made = LLMPipeline.from_recipe(recipe, cache_dir=folder / "cache").construct(RunOptions(executor="inline"))
    assert made.status == "done", made.failed
    return made


def answered(finished: LLMPipeline, concurrency: str, strengths: dict[str, float] | None = None) -> tuple[int, ...]:
    """What the CPU answers on the AR-1 parts, which Genie runs."""
    run = finished.finished()
    stored = stored_branches(run, with_strengths(run, concurrency, strengths))
    with PartChain({1: run.quantized_parts[1]}, run.config, branches=stored) as chain:
        answer = [int(chain.prefill(IDS).argmax())]
        while len(answer) < 8:
            answer.append(int(chain.decode(answer[-1]).argmax()))
    return tuple(answer)


def test_half_the_strength_is_pefts_adapter_with_its_scaling_halved(finished: LLMPipeline):
    folder = finished.recipe.source.parent
    base = AutoModelForCausalLM.from_pretrained(folder / "model").eval()
    model = peft.PeftModel.from_pretrained(base, folder / "french", adapter_name="french").eval()
    for share in (1.0, 0.5):
        for layer in model.modules():
            if isinstance(layer, peft.tuners.lora.LoraLayer):
                layer.set_scale("french", share)
        with torch.no_grad():
            expected = model(torch.tensor([IDS])).logits[0, -1].numpy()
        for concurrency in ("base", "french"):
            with finished.generator("torch", concurrency=concurrency, strengths={"french": share}) as ours:
                assert sqnr_db(expected, ours.prefill(IDS)) > 100


FLOAT_RUNGS = ("export", "prepare_exports", "split_model", "mha_to_sha_conversion")


def test_verify_walks_the_ladder_and_strengths_by_hand(finished: LLMPipeline):
    for rung in FLOAT_RUNGS:
        found = finished.verify(rung).parts() + finished.verify(rung, strengths={"poems": 0.2}).parts()
        assert {part.concurrency for part in found} == {"", "french", "both", "base with poems=0.2"}
        assert min(part.judged_db for part in found) >= 100, rung
    found = finished.verify("quantize").parts()
    base = {part.part: part.isolated_db for part in found if not part.concurrency}
    for part in found:
        assert part.isolated_db > base[part.part] - 1, "a branch costs what its base costs"


@pytest.mark.compiler
def test_the_emulator_computes_what_the_cpu_computes(finished: LLMPipeline):
    pytest.importorskip("onnxruntime_qnn")
    found = finished.verify("htp_emulator", concurrency="both", tokens=8).parts()
    assert min(part.cpu_db for part in found) >= 45


def test_quantized_graphs_follow_the_strength(finished: LLMPipeline):
    scores = {
        target: finished.evaluate(target, metrics=["perplexity"], chunks=2, strengths={"french": 0.5})["perplexity"]
        for target in ("torch", "quantsim", "cpu")
    }
    whole = finished.evaluate("cpu", metrics=["perplexity"], chunks=2, concurrency="french")["perplexity"]
    assert scores["quantsim"] == pytest.approx(scores["cpu"], rel=0.02)
    assert scores["torch"] == pytest.approx(scores["cpu"], rel=0.2)
    assert abs(scores["cpu"] - whole) > 1


@pytest.mark.compiler
def test_genie_switches_and_weighs_adapters_in_one_process(finished: LLMPipeline):
    pytest.importorskip("onnxruntime_qnn")
    tokens = {name: answered(finished, name) for name in NAMES}
    half = answered(finished, "french", {"french": 0.5})
    assert len({*tokens.values(), half}) == 4, "adapters that do not show would prove nothing"
    with finished.genie_model("french", {"french": 0.5}).dialog(lambda line: None, endless=True) as dialog:
        assert tuple(dialog.query_tokens(IDS, max_tokens=8)) == half
        for name in ("base", "both", "base", "french"):
            dialog.apply(name)
            assert tuple(dialog.query_tokens(IDS, max_tokens=8)) == tokens[name]


@pytest.mark.parametrize(
    ("strengths", "message"),
    [
        ({"german": 1.0}, "--strength: the graphs hold no adapter german\n  they hold french, poems, brief"),
        (
            {"french": 1.5},
            "--strength: strength 1.5 of french is outside the range that the graphs were calibrated for\n"
            "  give 0 to 1, or use a larger lora_scaling in a concurrency and run again",
        ),
    ],
)
def test_a_strength_that_the_graphs_do_not_hold(finished: LLMPipeline, strengths: dict[str, float], message: str):
    with pytest.raises(RecipeError) as error:
        finished.generate("Hi", strengths=strengths)
    assert str(error.value) == message


def test_the_command_line_takes_strengths(finished: LLMPipeline):
    words = ("generate", finished.recipe.source, "Hi", "--max-new-tokens", "3", "--cache-dir", finished.cache_dir)
    code, printed, told = command(*words, "--json", "--concurrency", "both", "--strength", "poems=0.2")
    assert code == 0, told
    answer = json.loads(printed)
    assert (answer["concurrency"], answer["strengths"]) == ("both", {"poems": 0.2})
    ours = finished.generate("Hi", concurrency="both", strengths={"poems": 0.2}, max_new_tokens=3)
    assert tuple(answer["tokens"]) == ours.tokens
    code, _, told = command(*words, "--strength", "half")
    assert code != 0
    assert "--strength: half is not a strength\n  write NAME=0.5, an adapter and a number" in told
    words = ("execute", finished.recipe.source, "Hi", "--target", "cpu", "--max-new-tokens", "3", "--json")
    code, printed, told = command(
        *words, "--concurrency", "both", "--strength", "poems=0.2", "--cache-dir", finished.cache_dir
    )
    assert code == 0, told
    (executed,) = json.loads(printed)["answers"]
    assert executed["text"] == answer["text"]


def test_evaluate_and_verify_take_strengths_on_the_command_line(finished: LLMPipeline):
    where = (finished.recipe.source, "--cache-dir", finished.cache_dir, "--json")
    half = ("--concurrency", "base", "--strength", "french=0.5")
    code, printed, told = command("evaluate", *where, "--target", "cpu", "--chunks", "2", *half)
    assert code == 0, told
    ours = finished.evaluate("cpu", metrics=["perplexity"], chunks=2, strengths={"french": 0.5})["perplexity"]
    assert json.loads(printed)["scores"]["perplexity"] == pytest.approx(ours)
    code, printed, told = command("verify", *where, "--rung", "quantize", "--tokens", "16", *half)
    assert {part["concurrency"] for part in json.loads(printed)["parts"]} == {"base with french=0.5"}


def test_another_strength_in_the_recipe_builds_no_graph_and_a_retrained_adapter_says_that_it_does(
    finished: LLMPipeline, tmp_path: Path
):
    folder = tmp_path / "copy"
    shutil.copytree(finished.recipe.source.parent, folder)
    content = yaml.safe_load((folder / "recipe.yaml").read_text())
    content["lora"]["concurrencies"]["both"]["lora_scaling"] = [0.4, 0.5]
    (folder / "recipe.yaml").write_text(yaml.safe_dump(content, sort_keys=False))

    def planned() -> dict[str, str]:
        code, printed, told = command("plan", folder / "recipe.yaml", "--cache-dir", folder / "cache", "--json")
        assert code == 0, told
        stages = json.loads(printed)["stages"]
        return {each["name"]: item["reason"] for each in stages for item in each["items"] if item["status"] != "cached"}

    assert planned() == {"lora_adapters": "lora_adapters.adapters.poems.strength 0.7 → 0.4"}
    rewrite_tensors(folder / "french", lambda tensors: [value.mul_(1.05) for value in tensors.values()])
    assert planned()["quantization"].startswith("quantization.adapter french ")
