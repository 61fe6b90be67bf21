"""A recipe of two context lengths: answers begin with the short graphs and go on with the long ones."""

from __future__ import annotations

import copy
import json
from pathlib import Path

import pytest
import yaml
from genie_conversation import conversation
from genie_run import command
from tiny_recipe import write_recipe

from qairt.engine.run.options import RunOptions
from qairt.llm import LLMPipeline
from qairt.runtime.chain import PartChain
from qairt.toolchain.genie import dialog as genie

pytestmark = pytest.mark.compiler
SHORT, LONG = 24, 40


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> LLMPipeline:
    folder = tmp_path_factory.mktemp("lengths")
    recipe = write_recipe(folder, technique="lpbq.yaml", hidden_size=128, intermediate_size=192)
    content = yaml.safe_load(recipe.read_text())
    del content["stages"]["convert"]
    content["stages"]["prepare_exports"]["context_length"] = [SHORT, LONG]
    content["stages"]["split_model"]["num_splits"] = 2
    recipe.write_text(yaml.safe_dump(content, sort_keys=False))
    made = LLMPipeline.from_recipe(recipe, cache_dir=folder / "cache")
    result = made.construct(RunOptions(executor="inline", until="quantize"))
    assert result.status == "done", result.failed
    return made


def generate(pipeline: LLMPipeline, *words: str) -> dict:
    code, out, err = command(
        "generate", pipeline.recipe.source, "Hello", "--raw", "--json", "--cache-dir", pipeline.cache_dir, *words
    )
    assert code == 0, err
    return dict(json.loads(out))


def test_an_answer_fills_the_longest_context_and_is_that_of_its_graphs_alone(finished: LLMPipeline):
    run = finished.finished()
    assert {length: sorted(parts) for length, parts in run.shorter_parts.items()} == {SHORT: [1, 8]}
    answer = generate(finished, "--max-new-tokens", "100")
    assert (answer["prompt_tokens"], answer["stop_reason"]) == (5, "context")
    assert len(answer["tokens"]) == LONG - 5 + 1
    with PartChain(run.quantized_parts, run.config) as generator:
        alone = finished.answer(generator, "Hello", None, max_new_tokens=100, chat=False).result
    assert list(alone.tokens) == answer["tokens"]


def test_the_recipes_own_context_length_is_the_longest_that_is_used(finished: LLMPipeline):
    answer = generate(finished, f"generator.context_length={SHORT}", "--max-new-tokens", "100")
    assert (answer["stop_reason"], len(answer["tokens"])) == ("context", SHORT - 5 + 1)


def test_genie_goes_on_with_the_longer_graphs(finished: LLMPipeline):
    pytest.importorskip("onnxruntime_qnn")
    notes: list[str] = []
    model = finished.genie_model()
    binaries = model.binaries.build(notes.append)
    assert [line.split(": compiled in ")[0] for line in notes[1:]] == [
        f"part {part} of 2, context {length}" for length in (SHORT, LONG) for part in (1, 2)
    ]
    prompt, count = [39, 68, 75, 75, 78], LONG - 5
    answers = []
    for used in (binaries, binaries[2:]):
        with genie.Dialog(model.genie_config(used)) as dialog:
            answers.append(list(dialog.query_tokens(prompt, max_tokens=count)))
    assert answers[0] == answers[1]
    assert len(answers[0]) == count
    with genie.Dialog(model.genie_config(binaries)) as dialog:
        assert list(dialog.query_tokens(prompt * 6, max_tokens=4)) == greedy_long(finished, prompt * 6, 4)


def greedy_long(finished: LLMPipeline, ids: list[int], count: int) -> list[int]:
    """What the CPU says on the graphs of the longest context."""
    run = finished.finished()
    with PartChain({1: run.quantized_parts[1]}, run.config) as chain:
        tokens = [int(chain.prefill(ids).argmax())]
        while len(tokens) < count:
            tokens.append(int(chain.decode(tokens[-1]).argmax()))
    return tokens


def test_a_conversation_that_genie_saved_goes_on_as_if_it_had_not_ended(finished: LLMPipeline, tmp_path: Path):
    """Across a change to the longer graphs; so does `run_genie.sh --save` and `--restore`."""
    pytest.importorskip("onnxruntime_qnn")
    model = finished.genie_model()
    config = model.genie_config(model.binaries.build(lambda line: None))
    first = {"do": "query_tokens", "tokens": [39, 68, 75, 75, 78] * 4, "max_tokens": 3}
    second = {"do": "query_tokens", "tokens": [60, 61, 62], "max_tokens": 5}
    together = conversation(config, first, second)
    saved = conversation(config, first, {"do": "save", "folder": str(tmp_path)})
    restored = conversation(config, {"do": "restore", "folder": str(tmp_path)}, second)
    assert [*saved, *restored] == together
    assert [len(answer) for answer in together] == [3, 5]
    assert conversation(config, second) != restored, "the first prompt makes a difference"
    assert (tmp_path / "dialog.json").is_file(), "as the script expects"


def test_genie_begins_every_prompt_of_a_conversation_with_its_token(finished: LLMPipeline):
    """Which is why the script takes it out of the configuration before a conversation goes on."""
    pytest.importorskip("onnxruntime_qnn")
    model = finished.genie_model()
    plain = model.genie_config(model.binaries.build(lambda line: None))
    first, second = [39, 68, 75, 75, 78], [60, 61, 62]

    def ask(tokens: list[int]) -> dict:
        return {"do": "query_tokens", "tokens": tokens, "max_tokens": 4}

    def config(begin: int, end: int) -> dict:
        changed = copy.deepcopy(plain)
        changed["dialog"]["context"] |= {"bos-token": begin, "eos-token": end}
        return changed

    (answer,) = conversation(plain, ask([1, *first]))
    end = answer[3]
    spoken = answer[: answer.index(end) + 1]
    _, found = conversation(config(1, end), ask(first), ask(second))
    (expected,) = conversation(config(-1, 259), ask([1, *first, *spoken, 1, *second]))
    assert found == expected
