"""Text generation over the float model: what is fed, what comes out, when it stops."""

from __future__ import annotations

import subprocess
import sys

import numpy as np
import pytest
import torch

from qairt.errors import GenerationError, ModelError
from qairt.model.reference import Reference
from qairt.runtime.generate import generate, prompt_ids
from qairt.runtime.sampling import Sampling
from qairt.runtime.torch_target import TorchGenerator

CONTEXT = 48


@pytest.fixture
def generator(parameters):
    with_weights = TorchGenerator(Reference(parameters, keep_weights=True), CONTEXT)
    yield with_weights
    with_weights.close()


def test_greedy_tokens_are_those_of_transformers(generator, tokenizer, hf_model):
    generation = generate(generator, tokenizer, "Hello", max_new_tokens=12)
    result = generation.result
    ids = torch.tensor([generation.prompt_ids])
    expected = hf_model.generate(
        ids, attention_mask=torch.ones_like(ids), max_new_tokens=12, do_sample=False, eos_token_id=None, pad_token_id=0
    )
    assert list(result.tokens) == expected[0, ids.shape[1] :].tolist()
    assert result.stop_reason == "max_new_tokens"
    assert result.prompt_tokens == len("Hello") + 3


def test_pieces_joined_are_the_text(generator, tokenizer):
    generation = generate(generator, tokenizer, "Hello", Sampling(temperature=2, seed=5), max_new_tokens=30)
    pieces = list(generation)
    result = generation.result
    assert "".join(piece.text for piece in pieces) == result.text == tokenizer.decode(result.tokens)
    assert [piece.tokens for piece in pieces] == sorted({piece.tokens for piece in pieces})
    assert len(result.tokens) == 30


def test_text_streams(generator, tokenizer):
    generation = generate(generator, tokenizer, "Hello", Sampling(temperature=1, seed=1), max_new_tokens=20)
    assert generator.length == 0, "nothing runs before the first piece is asked for"
    first = next(generation)
    assert generator.length == len(generation.prompt_ids) + first.tokens - 1, "no token is computed ahead"
    assert generation.text == first.text


def test_an_answer_ends_with_the_eos_token(generator, tokenizer):
    free = generate(generator, tokenizer, "Hello", max_new_tokens=10).result
    eos = free.tokens[4]
    result = generate(generator, tokenizer, "Hello", max_new_tokens=10, eos_ids=(0, eos)).result
    end = free.tokens.index(eos) + 1
    assert result.stop_reason == "eos"
    assert result.tokens == free.tokens[:end]
    assert result.text == tokenizer.decode(free.tokens[: end - 1])


def test_it_stops_when_the_context_is_full(generator, tokenizer):
    result = generate(generator, tokenizer, "x" * 40, chat=False, max_new_tokens=100).result
    assert result.stop_reason == "context"
    # All that fits, and the token that follows.
    assert len(result.tokens) == CONTEXT - 40 + 1


def test_a_prompt_that_fills_the_context_gets_one_token(generator, tokenizer):
    result = generate(generator, tokenizer, "x" * CONTEXT, chat=False).result
    assert (len(result.tokens), result.stop_reason, result.tokens_per_second) == (1, "context", None)


def test_a_longer_prompt_is_refused_before_anything_runs(generator, tokenizer):
    with pytest.raises(GenerationError) as caught:
        generate(generator, tokenizer, "x" * (CONTEXT + 1), chat=False)
    assert str(caught.value) == (
        "prompt: 49 tokens do not fit: the context holds 48\n"
        "  shorten the prompt, or set a larger context length in stages.prepare_exports and run again"
    )


def test_a_second_prompt_starts_anew(generator, tokenizer):
    first = generate(generator, tokenizer, "Hello", max_new_tokens=5).result
    generate(generator, tokenizer, "Something else", max_new_tokens=5).result  # noqa: B018 - it runs
    assert generate(generator, tokenizer, "Hello", max_new_tokens=5).result.tokens == first.tokens


def test_the_seed_decides_what_is_drawn(generator, tokenizer):
    def tokens(seed: int) -> tuple[int, ...]:
        return generate(generator, tokenizer, "Hi", Sampling(temperature=1, seed=seed), max_new_tokens=8).result.tokens

    assert tokens(1) == tokens(1)
    assert tokens(1) != tokens(2)


def test_times_add_up(generator, tokenizer):
    result = generate(generator, tokenizer, "Hello", max_new_tokens=6).result
    assert result.load_s == 0, "the torch target opens no graph"
    assert 0 < result.prefill_s == result.time_to_first_token_s
    assert result.decode_s > 0
    np.testing.assert_allclose(result.tokens_per_second, 5 / result.decode_s)


def test_a_prompt_goes_into_the_chat_template(tokenizer):
    assert prompt_ids(tokenizer, "hi") == tokenizer.encode("<|user|>hi</s><s>")
    assert prompt_ids(tokenizer, "hi")[0] == 2, "special tokens are tokens, not text"
    talk = [{"role": "user", "content": "a"}, {"role": "assistant", "content": "b"}]
    assert prompt_ids(tokenizer, talk) == tokenizer.encode("<|user|>a</s><|user|>b</s><s>")
    assert prompt_ids(tokenizer, "hi", chat=False) == tokenizer.encode("hi")


def test_a_model_without_a_template_gets_the_bare_words(tokenizer):
    tokenizer.chat_template = None
    assert prompt_ids(tokenizer, "hi") == tokenizer.encode("hi")
    with pytest.raises(ModelError, match="the model has no chat template"):
        prompt_ids(tokenizer, "hi", chat=True)


@pytest.mark.parametrize("chat", [True, False])
def test_a_prompt_that_is_no_text_is_refused(tokenizer, chat: bool):
    with pytest.raises(
        GenerationError, match="prompt: the prompt contains bytes that are not UTF-8\n  pass it in UTF-8"
    ):
        prompt_ids(tokenizer, b"h\xc3".decode(errors="surrogateescape"), chat=chat)


def test_an_empty_prompt_is_refused(generator, tokenizer):
    with pytest.raises(GenerationError, match="prompt: the prompt is empty\n  give a prompt"):
        generate(generator, tokenizer, " \n")


def test_no_tokens_at_all_is_refused(generator, tokenizer):
    with pytest.raises(GenerationError, match="max_new_tokens: 0 is out of range\n  allowed: 1 or more"):
        generate(generator, tokenizer, "hi", max_new_tokens=0)


def test_feeding_more_than_there_is_room_for_is_refused(generator):
    generator.prefill([5] * 40)
    with pytest.raises(GenerationError, match="9 tokens do not fit: the context holds 48, 40 of them taken"):
        generator.prefill([5] * 9)


def test_importing_the_runtime_loads_neither_torch_nor_onnx():
    modules = "cache chain comparison cpu emulator generate generator metrics parts pipe_protocol sampling stored"
    code = "\n".join(f"import qairt.runtime.{name}" for name in [*modules.split(), "torch_target"])
    code += "\nimport sys; print(sorted({'torch', 'onnx', 'onnx_ir', 'onnxruntime'} & sys.modules.keys()))"
    shown = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert shown == "[]\n"
