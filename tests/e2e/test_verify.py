"""`qairt verify` over a real run of a tiny model: every rung, a damaged one named, what is stored, bad input."""

from __future__ import annotations

import shutil
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from made_so import record_as_made
from tiny_recipe import write_recipe
from wait import until

from qairt.engine.cache.store import Store
from qairt.engine.run.options import RunOptions
from qairt.errors import CacheError, QairtError, RecipeError
from qairt.llm import LLMPipeline
from qairt.model.config import DecoderConfig
from qairt.verify.result import RUNGS, TOKEN_RUNGS, Verification

FLOAT = RUNGS[:4]


@pytest.fixture(scope="module")
def recipe(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_recipe(tmp_path_factory.mktemp("verify"), backend="CPU", technique="minmax.yaml")


@pytest.fixture(scope="module")
def finished(recipe: Path) -> LLMPipeline:
    made = LLMPipeline.from_recipe(recipe, cache_dir=recipe.parent / "cache")
    result = made.construct(RunOptions(executor="inline"))
    assert result.status == "done", result.failed
    return made


@pytest.fixture(scope="module")
def found(finished: LLMPipeline) -> Verification:
    return finished.verify()


@pytest.fixture
def copied(finished: LLMPipeline, recipe: Path, tmp_path: Path) -> LLMPipeline:
    """The same run in a cache of its own, without what was verified."""
    shutil.copytree(finished.cache_dir, tmp_path / "cache")
    shutil.rmtree(tmp_path / "cache" / "pipeline_state" / "verify", ignore_errors=True)
    return LLMPipeline.from_recipe(recipe, cache_dir=tmp_path / "cache")


def output_of(pipeline: LLMPipeline, stage: str, label: str) -> Any:
    planned = next(planned for planned in pipeline.plan().stages if planned.stage.name == stage)
    (item,) = (item for item in planned.items if item.label == label)
    return pipeline.cache.get(item.key, type(item.stage))


def change_weight(graph: Path, weight: str, change: float) -> None:
    """Add to the first value of a weight in the file beside a graph, as if its stage had written it so."""
    model = onnx.load(graph, load_external_data=False)
    (tensor,) = (tensor for tensor in model.graph.initializer if tensor.name == weight)
    entries = {entry.key: entry.value for entry in tensor.external_data}
    file = graph.with_name(entries["location"])
    data = bytearray(file.read_bytes())
    start = int(entries.get("offset", 0))
    value = np.frombuffer(data[start : start + 4], np.float32)[0] + np.float32(change)
    data[start : start + 4] = np.float32(value).tobytes()
    file.unlink()  # it may be shared with the items around it
    file.write_bytes(data)
    record_as_made(file)


def test_float_rungs_are_the_model_and_quantization_is_near(found: Verification):
    assert [rung.rung for rung in found.rungs] == list(RUNGS[:5])
    assert [(skipped.rung, skipped.why) for skipped in found.skipped] == [
        ("htp_emulator", "backend: CPU builds nothing for the NPU"),
        ("genie", "backend: CPU builds nothing for the NPU"),
    ]
    parts = found.parts()
    assert [(part.rung, part.part) for part in parts] == [(rung, part) for rung in RUNGS[:5] for part in (1, 2, 3)]
    for part in parts:
        least = 100 if part.rung in FLOAT else 15
        assert part.judged_db > least, part
        assert part.isolated_db is not None
        assert part.chained_db is not None
    last = parts[-1]
    assert last.top1 is not None
    assert last.top1 > 0.6
    assert last.kl is not None
    assert 0 < last.kl < 0.1
    assert found.first_below() is None


def test_the_float_model_is_what_transformers_reads(found: Verification):
    assert found.checkpoint is not None
    assert found.checkpoint.reader.startswith("transformers ")
    assert found.checkpoint.sqnr_db > 90
    assert found.checkpoint.top1 == 1.0


def test_a_checkpoint_that_both_sides_read_wrongly_is_found(
    recipe: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    """Every graph is the float model's, which is not the checkpoint's: only an independent reader can tell."""
    read = DecoderConfig.model_validate_json
    monkeypatch.setattr(
        DecoderConfig, "model_validate_json", lambda text: read(text).model_copy(update={"rms_norm_eps": 0.5})
    )
    made = LLMPipeline.from_recipe(recipe, cache_dir=tmp_path / "cache")
    assert made.construct(RunOptions(executor="inline")).status == "done"
    misread = made.verify()
    assert misread.first_below() is None
    assert misread.is_misread
    assert not misread.passes


def test_every_output_is_compared_both_ways_at_each_ar(found: Verification):
    quantize = found.rungs[-1]
    assert quantize.tokens == 32, "all that fit the context"
    seen = {(o.part, o.ar, o.way, o.output) for o in quantize.outputs}
    layer = ["hidden_1", "past_key_0_out", "past_value_0_out"]
    wanted = {1: ["hidden_0"], 2: layer, 3: ["logits", "past_key_1_out", "past_value_1_out"]}
    assert seen == {
        (part, ar, way, output)
        for part, outputs in wanted.items()
        for output in outputs
        for ar in (1, 8)
        for way in ("isolated", "chained")
    }
    chained = {o.ar: o.tokens for o in quantize.outputs if o.way == "chained" and o.output == "logits"}
    assert chained == {8: 16, 1: 16}


def test_layers_by_cost(found: Verification):
    costs = found.rungs[-1].costliest()
    assert {cost.name for cost in costs} == {"embedding", "layer 0", "layer 1", "lm_head"}
    assert costs[0].kl == max(cost.kl for cost in costs) > 0


def test_stored_results_are_reused(finished: LLMPipeline, found: Verification):
    said: list[str] = []
    again = finished.verify(notify=said.append)
    assert said == []
    assert again.reused == RUNGS[:5]
    assert again.rungs == found.rungs
    entries = {entry.label: entry for entry in finished.cache.entries("verify")}
    assert set(entries) == {*RUNGS[:5], "checkpoint"}
    assert "quantize ar1-split2" in entries["quantize"].inputs["extras"]["sources"]


def test_thresholds_judge_stored_results(finished: LLMPipeline, found: Verification, recipe: Path):
    strict = LLMPipeline.from_recipe(recipe, ["verify.min_sqnr_db.quantize=200"], cache_dir=finished.cache_dir)
    again = strict.verify()
    assert again.reused == RUNGS[:5]
    below = again.first_below()
    assert below is not None
    assert (below.rung, below.part, below.needed_db) == ("quantize", 1, 200.0)


def test_a_damaged_weight_is_named_by_rung_and_part(copied: LLMPipeline):
    part = output_of(copied, "split_model", "ar8-split2")
    change_weight(part.onnx, "model.layers.0.mlp.up_proj.weight", 0.5)
    found = copied.verify()
    below = found.first_below()
    assert below is not None
    assert (below.rung, below.part) == ("split_model", 2)
    assert below.worst.startswith("hidden_1, AR 8")
    low = [(part.rung, part.part) for part in found.parts() if not part.passes]
    assert low == [("split_model", 2), ("split_model", 3)], "the rung after it was made from whole files"
    isolated = {(p.rung, p.part): p.isolated_db for p in found.parts()}
    assert isolated["split_model", 3] > 100, "the part after it is sound by itself"


def test_a_file_damaged_after_measuring_is_measured_again(copied: LLMPipeline):
    assert copied.verify("split_model").first_below() is None
    change_weight(output_of(copied, "split_model", "ar1-split3").onnx, "lm_head.weight", 5.0)
    again = copied.verify("split_model")
    assert again.reused == ()
    below = again.first_below()
    assert below is not None
    assert (below.part, below.worst.split(", ")[:2]) == (3, ["logits", "AR 1"])


def test_nan_is_named_and_earlier_rungs_are_stored(copied: LLMPipeline):
    part = output_of(copied, "mha_to_sha_conversion", "ar8-split2")
    change_weight(part.onnx, "model.layers.0.mlp.up_proj.weight", np.nan)
    with pytest.raises(QairtError) as caught:
        copied.verify()
    assert caught.value.where == "rung mha_to_sha_conversion, part 2, AR 8, output hidden_1"
    assert "values are NaN or infinite (isolated)" in caught.value.what
    assert caught.value.exit_code == 1
    assert {entry.label for entry in copied.cache.entries("verify")} == set(RUNGS[:3])


DIES = """
import os, signal, sys
from pathlib import Path
from qairt.cli.main import main

moment, *words = sys.argv[1:]
write, rename, rungs = Path.write_text, os.rename, []

def die_at_the_second():
    rungs.append(1)
    if len(rungs) == 2:
        os.kill(os.getpid(), signal.SIGKILL)

def half_written(path, text, encoding):
    if path.name == "fidelity.json":
        write(path, text[: len(text) // 2])
        die_at_the_second()
    return write(path, text, encoding)

def not_yet_in_its_place(source, target):
    if Path(target).parent.name == "verify":
        die_at_the_second()
    rename(source, target)

if moment == "half written":
    Path.write_text = half_written
else:
    os.rename = not_yet_in_its_place
main(words)
"""
"""A process that kills itself while it keeps the second rung."""


def without_seconds(found: Verification) -> list[Any]:
    return [rung.model_copy(update={"seconds": 0.0}) for rung in found.rungs]


@pytest.mark.parametrize("moment", ["half written", "not yet in its place", "from outside"])
def test_a_killed_verify_resumes(moment: str, copied: LLMPipeline, recipe: Path, found: Verification):
    """kill -9: rungs that were measured are kept as they are, the others are measured by the next call."""
    words = ["verify", str(recipe), "--cache-dir", str(copied.cache_dir)]
    start = ["-m", "qairt"] if moment == "from outside" else ["-c", DIES, moment]
    child = subprocess.Popen([sys.executable, *start, *words], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    if moment == "from outside":
        until(lambda: list(copied.cache.entries("verify")) or child.poll() is not None, every=0.01)
        child.kill()
    assert child.wait() == -signal.SIGKILL
    kept = list(copied.cache.entries("verify"))
    done = tuple(rung for rung in RUNGS if rung in {entry.label for entry in kept})
    assert done == RUNGS[: len(done)]
    assert 1 <= len(done) < 5
    assert [entry.altered() for entry in kept] == [None] * len(kept)

    said: list[str] = []
    again = copied.verify(notify=said.append)
    assert again.reused == done
    assert not [line for line in said if line.startswith(tuple(f"{rung}:" for rung in done))]
    assert without_seconds(again) == without_seconds(found)
    Store(copied.cache_dir).prune()
    folder = copied.state_folder / "verify"
    assert sorted(folder.iterdir()) == sorted(entry.directory for entry in copied.cache.entries("verify"))
    assert copied.verify().reused == RUNGS[:5]


def test_one_part_of_one_rung(finished: LLMPipeline, found: Verification):
    said: list[str] = []
    narrow = finished.verify("quantize", part=2, tokens=9, notify=said.append)
    (rung,) = narrow.rungs
    assert {output.part for output in rung.outputs} == {2}
    assert rung.tokens == 9
    assert rung.layers == ()
    assert [line for line in said if "part 3" in line] == []
    of_whole = {o.output: o.sqnr_db for o in found.rungs[-1].outputs if (o.part, o.ar, o.way) == (2, 8, "isolated")}
    assert {o.output: o.sqnr_db for o in rung.outputs if (o.ar, o.way) == (8, "isolated")} == of_whole


def test_rungs_that_are_not_built_yet_are_skipped_with_the_reason(recipe: Path, tmp_path: Path):
    pipeline = LLMPipeline.from_recipe(recipe, cache_dir=tmp_path)
    with pytest.raises(CacheError, match="model_loading all: nothing to compare with yet") as caught:
        pipeline.verify()
    assert caught.value.remedy == f"qairt run {recipe} --cache-dir {tmp_path}"
    assert pipeline.construct(RunOptions(until="quantization", executor="inline")).status == "done"
    with pytest.raises(CacheError, match="no rung is built yet"):
        pipeline.verify()
    assert pipeline.construct(RunOptions(until="prepare_exports", executor="inline")).status == "done"
    found = pipeline.verify()
    assert [rung.rung for rung in found.rungs] == ["export", "prepare_exports"]
    assert [skipped.rung for skipped in found.skipped] == [*RUNGS[2:], *TOKEN_RUNGS]
    command = f"qairt run {recipe} --cache-dir {tmp_path}"
    assert found.skipped[0].why == f"6 of 6 items are not built yet: split_model ar1-split1; {command}"
    assert found.first_below() is None


@pytest.mark.parametrize(
    ("asked", "message"),
    [
        ({"rung": "spilt"}, "--rung: there is no rung spilt\n  the rungs are export, prepare_exports, split_model"),
        ({"part": 4}, "--part: there is no part 4\n  the model has parts 1 to 3"),
        ({"part": 0}, "--part: there is no part 0\n  the model has parts 1 to 3"),
        ({"tokens": 0}, "--tokens: 0 is out of range\n  give 1 or more"),
    ],
)
def test_invalid_requests(finished: LLMPipeline, asked: dict[str, Any], message: str):
    with pytest.raises(RecipeError) as caught:
        finished.verify(**asked)
    assert str(caught.value).startswith(message)
