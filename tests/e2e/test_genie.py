"""Genie, the vendor's own runtime, on a tiny model: made, generated from, verified, interrupted, fed wrong things."""

from __future__ import annotations

import dataclasses
import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import pytest
from genie_run import bare, command, quantized_run

from qairt.engine.record.folder import run_folders
from qairt.engine.record.summary import read_state
from qairt.errors import GenerationError, RecipeError, ToolchainError
from qairt.llm import LLMPipeline
from qairt.model.rope import rotary
from qairt.report.fidelity import fidelity_of
from qairt.runtime.chain import PartChain
from qairt.runtime.sampling import Sampling
from qairt.runtime.stored import to_stored
from qairt.toolchain.genie import dialog as genie
from qairt.toolchain.qnn import wheel

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


def greedy(pipeline: LLMPipeline, ids: list[int], count: int) -> list[int]:
    """What the CPU says on the AR-1 parts."""
    decoder = pipeline.finished().config
    with PartChain({1: pipeline.quantized_parts()[1]}, decoder) as chain:
        tokens = [int(chain.prefill(ids).argmax())]
        while len(tokens) < count:
            tokens.append(int(chain.decode(tokens[-1]).argmax()))
    return tokens


def test_three_chained_parts_say_what_the_cpu_says(finished: LLMPipeline, config: dict[str, Any], capfd):
    capfd.readouterr()
    with genie.Dialog(config) as dialog:
        for prompt in ([39, 68, 75, 75, 78], [7], list(range(60, 80))):
            assert list(dialog.query_tokens(prompt, max_tokens=5)) == greedy(finished, prompt, 5)
        assert dialog.encode("Hello") == [39, 68, 75, 75, 78]
        pieces = list(dialog.query("Hello", max_tokens=5))
    assert len(pieces) == 5
    printed = capfd.readouterr()
    assert "Using create From Binary" not in printed.out + printed.err, "the vendor's words stay in the child"


def test_the_whole_context_is_used_and_never_left(finished: LLMPipeline, config: dict[str, Any]):
    with genie.Dialog(config) as dialog:
        assert len(list(dialog.query_tokens([39] * 5, max_tokens=1000))) == 27
        assert list(dialog.query_tokens([39] * 31, max_tokens=9)) == greedy(finished, [39] * 31, 1)
        with pytest.raises(GenerationError, match="prompt: 32 tokens do not fit: the context holds 32"):
            dialog.query_tokens([39] * 32, max_tokens=1)
        assert len(list(dialog.query("Hello", max_tokens=2))) == 2, "it still answers"


def test_generate_says_the_cost_makes_what_is_missing_and_answers(finished: LLMPipeline, tmp_path: Path):
    own = bare(finished, tmp_path)
    words = ("--cache-dir", own.cache_dir, "--max-new-tokens", "4", "--json")
    code, out, err = command("generate", own.recipe.source, "Hi", "--target", "genie", *words)
    assert code == 0, err
    cost, compiling, *made = err.splitlines()
    assert cost.startswith("genie: the NPU is emulated at about 0.0 s per token: ")
    assert " to read 19 prompt tokens one by one, " in cost
    assert compiling.startswith("compiling 3 parts of 3 for Genie, one graph each; about ")
    assert [line.split(": compiled in ")[0] for line in made] == ["part 1 of 3", "part 2 of 3", "part 3 of 3"]
    from_cpu = json.loads(command("generate", own.recipe.source, "Hi", *words)[1])
    answer = json.loads(out)
    assert (answer["target"], answer["prompt_tokens"], answer["stop_reason"]) == ("genie", 19, "max_new_tokens")
    assert answer["tokens"] == from_cpu["tokens"]
    assert answer["text"] == from_cpu["text"]
    assert answer.keys() == from_cpu.keys()
    again = command("generate", own.recipe.source, "Hi", "--target", "genie", *words)
    assert again[2].splitlines() == [cost], "nothing is compiled twice"
    assert json.loads(again[1])["tokens"] == answer["tokens"]


def test_sampling_and_raw_prompts_reach_genie(finished: LLMPipeline):
    def tokens(sampling: Sampling | None) -> tuple[int, ...]:
        model = finished.genie_model()
        with model.answer("Hello", sampling, max_new_tokens=12, chat=False, notify=lambda line: None) as answer:
            assert answer.prompt_ids == [39, 68, 75, 75, 78]
            return answer.result.tokens

    likeliest = tokens(None)
    wild = [tokens(Sampling(temperature=5.0, seed=seed)) for seed in (1, 1, 2)]
    assert wild[0] == wild[1] != likeliest
    assert wild[2] != wild[0]
    assert tokens(Sampling(temperature=5.0, top_k=1, seed=3)) == likeliest


def test_an_end_token_ends_the_answer(finished: LLMPipeline):
    model = finished.genie_model()
    say = lambda line: None  # noqa: E731
    with model.answer("Hello", None, max_new_tokens=6, chat=False, notify=say) as answer:
        whole = answer.result.tokens
    ending = dataclasses.replace(model, config=model.config.model_copy(update={"eos_token_ids": (300, whole[3])}))
    expected = whole[: whole.index(whole[3])]
    with ending.answer("Hello", None, max_new_tokens=6, chat=False, notify=say) as answer:
        result = answer.result
    assert result.stop_reason == "eos"
    assert result.tokens[: len(expected)] == expected
    assert len(result.tokens) == len(expected) + 1


def test_an_answer_that_nobody_read_is_not_taken_for_the_next(finished: LLMPipeline, config: dict[str, Any]):
    with genie.Dialog(config) as dialog:
        next(dialog.query_tokens([7], max_tokens=6))
        assert list(dialog.query_tokens([39, 68], max_tokens=4)) == greedy(finished, [39, 68], 4)
        next(dialog.query("Hello", max_tokens=3))
        assert dialog.encode("Hello") == [39, 68, 75, 75, 78]


def test_closing_ends_the_child_in_the_middle_of_an_answer(config: dict[str, Any]):
    with genie.Dialog(config) as dialog:
        pieces = dialog.query("Hello", max_tokens=27)
        next(pieces)
    assert not psutil.pid_exists(dialog.pid)


def test_a_dialog_that_dies_says_so(config: dict[str, Any]):
    with genie.Dialog(config) as dialog:
        pieces = dialog.query("Hello", max_tokens=27)
        next(pieces)
        os.kill(dialog.pid, signal.SIGKILL)
        with pytest.raises(ToolchainError, match=r"Genie: died by signal 9 \(SIGKILL, most often because the machine"):
            list(pieces)


SCALINGS: dict[str, dict[str, Any] | None] = {
    "plain": None,
    "linear": {"rope_type": "linear", "factor": 4.0},
    "llama3": {
        "rope_type": "llama3",
        "factor": 8.0,
        "low_freq_factor": 1.0,
        "high_freq_factor": 4.0,
        "original_max_position_embeddings": 16,
    },
    "yarn": {"rope_type": "yarn", "factor": 4.0, "original_max_position_embeddings": 16},
    "dynamic": {"rope_type": "dynamic", "factor": 2.0, "original_max_position_embeddings": 16},
}


@pytest.mark.parametrize("kind", SCALINGS)
def test_genie_rotates_as_the_model_does(finished: LLMPipeline, config: dict[str, Any], kind: str, tmp_path: Path):
    """What Genie hands to the graphs at every position, from its own dump, beside our rotary embedding."""
    model = finished.genie_model()
    decoder = model.config.model_copy(update={"rope_scaling": SCALINGS[kind], "rope_theta": 12345.5})
    binaries = [Path(name) for name in config["dialog"]["engine"]["model"]["binary"]["ctx-bins"]]
    asked = dataclasses.replace(model, config=decoder).genie_config(binaries)
    asked["dialog"]["debug"] = {"path": str(tmp_path / "dump"), "dump-tensors": True}
    with genie.Dialog(asked) as dialog:
        list(dialog.query_tokens(list(range(50, 78)), max_tokens=2))
    signature = finished.quantized_parts()[1][1].signature
    for name, expected in zip(("cos", "sin"), rotary(decoder, np.arange(20), length=32), strict=True):
        spec = next(spec for spec in signature.inputs if spec.name == f"position_ids_{name}")
        dumped = sorted((tmp_path / "dump").glob(f"*/*2_of_3/*_in_{spec.name}"))[:20]
        found = np.stack([np.fromfile(path, spec.dtype) for path in dumped]).astype(int)
        assert found.shape == (20, 8)
        # of 65,536 steps: it cuts off where we round
        assert np.abs(found - to_stored(expected, spec).astype(int)).max() <= 2


# Interrupted


@pytest.fixture
def interrupted(finished: LLMPipeline, tmp_path: Path) -> tuple[LLMPipeline, Any]:
    """A cache, and a function that signals `generate` when the first of its parts is made; returns its exit code."""
    own = bare(finished, tmp_path)
    words = [sys.executable, "-m", "qairt", "generate", str(own.recipe.source), "Hi", "--target", "genie"]

    def send(number: signal.Signals) -> int:
        child = subprocess.Popen([*words, "--cache-dir", str(own.cache_dir)], stderr=subprocess.PIPE, text=True)
        assert child.stderr is not None
        for line in child.stderr:
            if line.startswith("part 1 of 3: compiled"):
                child.send_signal(number)
                break
        child.communicate()
        return child.returncode

    return own, send


@pytest.mark.parametrize(("number", "code"), [(signal.SIGKILL, -9), (signal.SIGINT, 130)])
def test_what_was_interrupted_goes_on_at_the_next_part(interrupted: Any, number: signal.Signals, code: int):
    own, send = interrupted
    assert send(number) == code
    model = own.genie_model()
    left = model.binaries.missing()
    assert left in (1, 2)
    finished_key = next(iter(model.binaries.keys().values()))
    (own.state_folder / "genie_binary" / f".making-{finished_key[:8]}-interrupted").mkdir()  # while it was put away
    said: list[str] = []
    assert len(model.binaries.build(said.append)) == 3
    assert said[0].startswith(f"compiling {left} part")
    assert len(said) == 1 + left
    assert not list((own.state_folder / "genie_binary").glob(".making-*"))


# The last rung of `qairt verify`


def test_the_rung_shows_both_and_is_kept(finished: LLMPipeline):
    said: list[str] = []
    found = finished.verify("genie", notify=said.append)
    assert said[0].startswith("genie: the NPU is emulated at about ")
    (rung,) = found.tokens
    assert (len(rung.prompt), len(rung.cpu), rung.margin, rung.first_difference) == (8, 4, None, None)
    assert rung.found == rung.cpu == tuple(greedy(finished, list(rung.prompt), 4))
    assert found.passes
    assert finished.verify("genie").reused == ("genie",)
    assert finished.verify("genie", tokens=3).reused == (), "another prompt"
    entry = next(finished.cache.entries("verify"))
    assert entry.inputs["extras"]["toolchain"] == wheel.version()
    code, out, _ = command("verify", finished.recipe.source, "--rung", "genie", "--cache-dir", finished.cache_dir)
    assert code == 0
    header, cpu, vendor, same, *_ = out.splitlines()
    assert header.startswith("genie: 4 tokens after 8 tokens of text, ")
    assert (cpu.split()[0], vendor.split()[0], cpu.split()[1:]) == ("cpu", "genie", vendor.split()[1:])
    assert same == "  identical"


def test_a_recipes_ladder_ends_with_it(finished: LLMPipeline):
    found = finished.verify(part=1)
    assert [skipped.rung for skipped in found.skipped] == ["genie"]
    with pytest.raises(RecipeError, match="--part: Genie returns tokens, and one part alone gives none"):
        finished.verify("genie", part=1)


def test_the_report_has_it(finished: LLMPipeline):
    finished.verify("genie")
    (folder,) = run_folders(finished.state_folder)
    found = fidelity_of(finished.cache, read_state(folder), {}, {})
    assert found is not None
    assert [runtime.rung for runtime in found.runtimes] == ["genie"]
    assert found.first_differing is None
