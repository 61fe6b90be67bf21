"""A recipe with LoRA adapters, run for the CPU: base and concurrencies from the same graphs, other adapters in them."""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pytest
import yaml
from adapted_recipe import write_adapted_recipe
from safetensors.numpy import load_file
from tiny_adapters import rewrite_tensors
from tiny_recipe import TEXT

from qairt.engine.record.events import LogLine
from qairt.engine.run.options import RunOptions
from qairt.errors import RecipeError
from qairt.llm import LLMPipeline
from qairt.model.names import PAST
from qairt.model.reference import Reference
from qairt.quant.encodings_json import read_encodings
from qairt.quant.lora_record import LoraRecord
from qairt.quant.simulate import Simulated
from qairt.results.concurrency import float_branches, stored_branches
from qairt.results.finished import FinishedRun
from qairt.runtime.chain import ChainObserver, PartChain
from qairt.runtime.emulator import EmulatedPart
from qairt.runtime.metrics import sqnr_db
from qairt.runtime.parts import PartGraph
from qairt.runtime.stored import Array, to_real
from qairt.stages.facts import model_of, open_quantized, soc_of
from qairt.stages.lora_adapters import AdapterValues
from qairt.stages.quantization import Quantized

CONCURRENCIES = ["base", "french", "both"]


def opened(folder: Path) -> LLMPipeline:
    return LLMPipeline.from_recipe(folder / "recipe.yaml", cache_dir=folder / "cache")


def made(folder: Path) -> tuple[LLMPipeline, list[str]]:
    """The finished run, and what it told."""
    pipeline, told = opened(folder), []
    pipeline.add_listener(lambda event: told.append(event.message) if isinstance(event, LogLine) else None)
    result = pipeline.construct(RunOptions(executor="inline", memory=10**10))
    assert result.status == "done", result.failed
    return pipeline, told


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("adapted")
    write_adapted_recipe(folder, backend="CPU", technique="minmax.yaml", std=0.15)
    path = folder / "recipe.yaml"
    recipe = yaml.safe_load(path.read_text())
    recipe["lora"]["quant_updatable_mode"] = "adapter_only"
    path.write_text(yaml.safe_dump(recipe, sort_keys=False))
    made(folder)
    return folder


@pytest.fixture(scope="module")
def run(finished: Path) -> FinishedRun:
    return opened(finished).finished()


def values_of(run: FinishedRun) -> dict[str, AdapterValues]:
    outputs = [run.output(item, AdapterValues) for item in run.items("lora_adapters")]
    return {output.concurrency: output for output in outputs}


@pytest.mark.parametrize("concurrency", CONCURRENCIES)
def test_the_chain_computes_what_the_simulation_computes(run: FinishedRun, concurrency: str) -> None:
    quantized = run.only_output("quantization", Quantized)
    parameters = open_quantized(model_of(run.env).source, run.config, quantized.changed_weights, quantized.rotation)
    encodings = read_encodings(quantized.encodings.read_text())
    branches = float_branches(run, concurrency, parameters)
    stored = stored_branches(run, concurrency)
    ids = run.tokenizer.encode(TEXT if concurrency == "french" else TEXT[::-1])[:24]
    with PartChain(run.quantized_parts, run.config, branches=stored) as chain:
        found = np.concatenate(list(chain.logits(ids)))
    simulated = Simulated(parameters, encodings, branches=branches).logits(ids).numpy()
    assert sqnr_db(simulated, found) > 60
    exact = Reference(parameters, branches=branches).logits(ids).numpy()
    assert sqnr_db(exact, found) > 20
    if concurrency != "base":
        assert sqnr_db(Reference(parameters).logits(ids).numpy(), found) < 12


def test_the_item_of_a_concurrency_holds_what_its_graphs_read(run: FinishedRun) -> None:
    found = values_of(run)
    assert list(found) == CONCURRENCIES
    assert all(not output.clipped and output.is_calibrated for output in found.values())
    for name in ("french", "both"):
        wanted, stored = stored_branches(run, name), load_file(found[name].values)
        assert wanted.keys() == stored.keys()
        assert all(np.array_equal(wanted[key], stored[key]) for key in wanted)
    assert all((value == 128).all() for value in load_file(found["base"].values).values())
    assert stored_branches(run, "base") == {}


def test_encodings_of_each_concurrency_are_written(run: FinishedRun) -> None:
    quantized = run.only_output("quantization", Quantized)
    assert quantized.own_encodings is not None
    assert list(quantized.own_encodings) == CONCURRENCIES
    shared = read_encodings(quantized.encodings.read_text()).activations
    for path in quantized.own_encodings.values():
        own = read_encodings(path.read_text()).activations
        assert own.keys() == shared.keys()
        other = {name for name in own if not own[name].same_grid(shared[name])}
        assert other
        assert all("lora" in name for name in other)
    assert quantized.lora is not None
    record = LoraRecord.read(quantized.lora)
    assert {grid.scale for name, grid in record.grids.items() if name.endswith("_a")} == {float(np.float32(1 / 127))}
    assert set(record.calibrated) == {"french", "both"}


def test_verify_walks_the_ladder_for_every_concurrency(finished: Path) -> None:
    pipeline = opened(finished)
    found = pipeline.verify()
    names = [rung.name for rung in found.rungs]
    stages = ["export", "prepare_exports", "split_model", "mha_to_sha_conversion", "quantize"]
    assert names == [f"{stage}{of}" for stage in stages for of in ("", " with french", " with both")]
    for part in found.parts():
        assert part.passes, part
        if part.rung != "quantize":
            assert part.judged_db >= 100, part
    again = opened(finished).verify()
    assert list(again.reused)[: len(names)] == names
    assert again.rungs == found.rungs


def test_an_unknown_concurrency_names_those_there_are(run: FinishedRun) -> None:
    with pytest.raises(RecipeError) as error:
        stored_branches(run, "german")
    assert error.value.what == "there is no concurrency german"
    assert error.value.remedy == "the recipe has base, french, both"


def test_other_adapters_in_a_finished_run(finished: Path, tmp_path: Path) -> None:
    """No graph is built again; what does not fit is told, with what to do."""
    folder = tmp_path / "copy"
    shutil.copytree(finished, folder)
    rewrite_tensors(folder / "french", lambda tensors: [value.mul_(1.05) for value in tensors.values()])
    rewrite_tensors(folder / "poems", lambda tensors: [value.mul_(3) for value in tensors.values()])
    pipeline, told = made(folder)
    assert {name.split()[0] for name in pipeline.executed} == {"lora_adapters", "export_bundle"}
    assert "lora_adapters base" not in pipeline.executed
    remarks = [message for message in told if message.startswith("lora.concurrencies.")]
    assert remarks[0] == (
        "lora.concurrencies.french: the ranges of activations were measured with other adapters; qairt run"
        " --force quantization measures them with these, and rebuilds everything after it"
    )
    clipped = values_of(pipeline.finished())["both"].clipped
    worst = max(clipped, key=clipped.__getitem__)
    assert all(0 < share < 0.9 for share in clipped.values())
    assert remarks[1] == (
        f"lora.concurrencies.both: {len(clipped)} inputs of its LoRA branches have values that the grids of the"
        f" finished graphs clip, {worst} most ({clipped[worst]:.1%} of its values): qairt run --force quantization"
        " measures them again, and rebuilds everything after it"
    )
    assert len(remarks) == 2
    forced = opened(folder).plan(RunOptions(force=frozenset({"quantization"})))
    unaffected = {"model_loading"}
    assert {item.stage.name for item in forced.items} - {item.stage.name for item in forced.to_run()} == unaffected


class Recorded(ChainObserver):
    """What the second part read and gave."""

    def ran(self, part: PartGraph, inputs: Mapping[str, Array], outputs: Mapping[str, Array], count: int) -> None:
        if part.signature.part == 2:
            self.part, self.inputs, self.outputs = part, dict(inputs), dict(outputs)


@pytest.mark.compiler
def test_the_compiler_makes_of_every_concurrency_what_the_cpu_computes(run: FinishedRun) -> None:
    """Also of q_proj, whose ranks add up to 5: of an R of 5 it would read wrong columns."""
    record = LoraRecord.read(run.only_output("quantization", Quantized).lora)
    assert record.shape.ranks["model.layers.0.self_attn.q_proj"] == 6
    ids = run.tokenizer.encode(TEXT)[:8]
    seen = {}
    for concurrency in CONCURRENCIES:
        seen[concurrency] = Recorded()
        branches = stored_branches(run, concurrency)
        with PartChain({8: run.quantized_parts[8]}, run.config, branches=branches, observer=seen[concurrency]) as chain:
            chain.prefill(ids)
    emulated = EmulatedPart(seen["base"].part, soc=soc_of(run.env))
    try:
        for concurrency, recorded in seen.items():
            found = emulated.run(recorded.inputs)
            for spec in recorded.part.signature.outputs:
                needed = 45 if PAST.match(spec.name) else 40
                wanted = to_real(recorded.outputs[spec.name], spec)
                assert sqnr_db(wanted, to_real(found[spec.name], spec)) >= needed, (concurrency, spec.name)
    finally:
        emulated.close()


def test_what_loading_the_model_says_about_its_adapters(finished: Path) -> None:
    found = opened(finished).lora_adapter_metadata
    assert found is not None
    assert {name: type(config).__name__ for name, config in found.peft_configs.items()} == dict.fromkeys(
        ("french", "poems", "brief"), "LoraConfig"
    )
    assert found.peft_configs["poems"].r == 2
    assert set(found.alpha_scalings["french"]) == {2.0}
    assert found.max_alpha_scale == max(max(scalings) for scalings in found.alpha_scalings.values())


@pytest.mark.parametrize("stated", [None, "none", "adapter_only", "all"])
def test_only_a_recipe_that_asks_for_encodings_of_each_concurrency_is_told_about_the_sdk(
    finished: Path, tmp_path: Path, stated: str | None
) -> None:
    recipe = yaml.safe_load((finished / "recipe.yaml").read_text())
    del recipe["lora"]["quant_updatable_mode"]
    if stated is not None:
        recipe["lora"]["quant_updatable_mode"] = stated
    path = finished / f"{stated}.yaml"
    path.write_text(yaml.safe_dump(recipe, sort_keys=False))
    pipeline = LLMPipeline.from_recipe(path, cache_dir=tmp_path)
    pipeline.plan()
    told = [note for note in pipeline.notes() if "qairt-lora-importer" in note]
    assert len(told) == (stated in ("adapter_only", "all"))


def test_another_concurrency_gets_the_encodings_that_a_recipe_asks_for(finished: Path) -> None:
    recipe = yaml.safe_load((finished / "recipe.yaml").read_text())
    recipe["lora"]["concurrencies"]["poems"] = {
        "adapters": ["poems"], "lora_scaling": [1.0], "calibration_dataset": "poems.txt",
    }  # fmt: skip
    path = finished / "another.yaml"
    path.write_text(yaml.safe_dump(recipe, sort_keys=False))
    plan = LLMPipeline.from_recipe(path, cache_dir=finished / "cache").plan()
    item = next(item for item in plan.items if item.stage.name == "quantization")
    assert not item.cached
    assert item.reason.startswith('lora.concurrencies ["base","french","both"] → ["base","french","both","poems"]')
