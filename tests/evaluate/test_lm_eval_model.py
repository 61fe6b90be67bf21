"""What lm-eval asks, where it is installed (the extra `eval`)."""

from __future__ import annotations

import sys
from contextlib import contextmanager
from types import SimpleNamespace

import pytest
import torch
from tokenizers.processors import TemplateProcessing

from qairt.errors import EvaluationError, ModelError
from qairt.evaluate.run import check
from qairt.evaluate.tasks import LmEval, Mmlu
from qairt.model.reference import Reference
from qairt.runtime.torch_target import TorchGenerator


@pytest.fixture
def asked(subject_on):
    """lm-eval's view of a target."""
    pytest.importorskip("lm_eval")
    from qairt.evaluate.lm_eval_model import LmEvalModel

    return lambda target, **changes: LmEvalModel(LmEval(task="any"), subject_on(target, **changes))


def request(*arguments):
    return SimpleNamespace(args=arguments)


def test_without_the_package(subject_on, monkeypatch):
    monkeypatch.setitem(sys.modules, "lm_eval", None)
    with pytest.raises(
        EvaluationError, match=r"^the metric mmlu: it needs the package lm-eval, .*\n  pip install 'qairt"
    ):
        check(Mmlu(), subject_on("torch"))


def test_a_package_that_cannot_be_loaded(subject_on, monkeypatch):
    """As where something that it needs itself is missing."""
    monkeypatch.setattr("qairt.evaluate.run.find_spec", lambda name: object())
    monkeypatch.setitem(sys.modules, "qairt.evaluate.lm_eval_model", None)
    with pytest.raises(EvaluationError, match=r"^the metric mmlu: it needs .*, which cannot be loaded: .*\n  pip inst"):
        check(Mmlu(), subject_on("torch"))


def test_an_unknown_task(subject_on, monkeypatch):
    pytest.importorskip("lm_eval")
    said = []
    some = SimpleNamespace(all_tasks=["hellaswag", "mmlu"])  # reading all there are takes seconds
    monkeypatch.setattr("qairt.evaluate.lm_eval_model.TaskManager", lambda include_path: some)
    subject = subject_on("torch", progress=lambda what, part: said.append(what))
    with pytest.raises(
        EvaluationError, match=r"^the metric lm_eval: lm-eval has no task helaswag\n  did you mean hellaswag\? `lm_eval"
    ):
        check(LmEval(task="helaswag"), subject)
    check(LmEval(task="hellaswag"), subject)
    assert said == ["reading lm-eval's tasks"] * 2, "once"


def test_log_likelihoods(asked, parameters, tokenizer):
    """Of the continuation only; a space before it is its own; once for each request."""
    found = asked("torch").loglikelihood(
        [request("one two ", "three"), request("", "four"), request("one two ", "three")]
    )
    model = Reference(parameters, keep_weights=True)
    before, after = tokenizer.encode("one two"), tokenizer.encode(" three")
    rows = model.logits([*before, *after[:-1]]).log_softmax(-1)[len(before) - 1 :]
    expected = float(rows.gather(1, torch.tensor(after)[:, None]).sum())
    assert found[0] == (pytest.approx(expected, rel=1e-5), bool((rows.argmax(-1) == torch.tensor(after)).all()))
    assert found[2] == found[0]
    start = model.logits([0, *tokenizer.encode("four")[:-1]]).log_softmax(-1)
    expected = float(start.gather(1, torch.tensor(tokenizer.encode("four"))[:, None]).sum())
    assert found[1][0] == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize("target", ["quantsim", "cpu"])
def test_on_other_targets(asked, target):
    pairs = [request("Which of them", " first"), request("Which of them", " second")]
    exact = [likelihood for likelihood, _ in asked("torch").loglikelihood(pairs)]
    found = [likelihood for likelihood, _ in asked(target).loglikelihood(pairs)]
    assert found == pytest.approx(exact, rel=0.05)
    assert found != exact


@pytest.fixture
def backends(asked, hf_model, tokenizer):
    """Ours and lm-eval's own Hugging Face backend, with a tokenizer that begins each text with `<s>`."""
    from lm_eval.models.huggingface import HFLM
    from transformers import PreTrainedTokenizerFast

    tokenizer.fast.post_processor = TemplateProcessing(single="<s> $A", special_tokens=[("<s>", 0)])
    of_transformers = PreTrainedTokenizerFast(tokenizer_object=tokenizer.fast, bos_token="<s>", eos_token="</s>")
    return asked("torch", tokenizer=tokenizer), HFLM(hf_model, tokenizer=of_transformers, max_length=32, batch_size=1)


def test_a_long_text_is_read_in_the_windows_of_the_hugging_face_backend(backends):
    texts = ["short", "window after window of a text that is longer than the context", "x" * 31, "x" * 32, "x" * 33]
    ours, theirs = (backend.loglikelihood_rolling([request(text) for text in texts]) for backend in backends)
    assert ours == pytest.approx(theirs, rel=1e-4)


def test_likelihoods_are_those_of_the_hugging_face_backend(backends):
    pairs = [("one two ", "three"), ("<s>one", " two"), ("", "four"), ("a context that is too long " * 2, "for it")]
    ours, theirs = (backend.loglikelihood([request(*pair) for pair in pairs]) for backend in backends)
    assert [likelihood for likelihood, _ in ours] == pytest.approx([found for found, _ in theirs], rel=1e-4)
    assert [likeliest for _, likeliest in ours] == [likeliest for _, likeliest in theirs]


def test_answers_end_at_the_stop_texts(asked):
    model = asked("torch")
    (whole,) = model.generate_until([request("Hello", {"until": [], "max_gen_toks": 6})])
    assert 0 < len(whole) <= 6
    (cut,) = model.generate_until([request("Hello", {"until": [whole[2]], "max_gen_toks": 6})])
    assert cut == whole[: whole.index(whole[2])]


def test_an_answer_within_another_context_is_another_one(asked, parameters):
    """A prompt that leaves no room for the answer is cut."""
    prompt = request("a prompt that is longer than one of the contexts", {"until": [], "max_gen_toks": 4})
    opened = []

    def within(length):
        @contextmanager
        def generator():
            opened.append(length)
            yield TorchGenerator(Reference(parameters, keep_weights=True), length)

        return asked("torch", answer_length=length, open_generator=generator).generate_until([prompt])

    answers = within(64), within(16)
    assert opened == [64, 16]
    assert (within(64), within(16)) == answers
    assert opened == [64, 16], "both are stored"


def test_an_error_of_ours_keeps_its_place_and_remedy(subject_on, monkeypatch):
    pytest.importorskip("lm_eval")
    from qairt.evaluate.lm_eval_model import measure_task

    def damaged(**how):
        raise ModelError("a weight is damaged", where="model.safetensors", remedy="fetch it again")

    monkeypatch.setattr("qairt.evaluate.lm_eval_model.simple_evaluate", damaged)
    monkeypatch.setattr("qairt.evaluate.lm_eval_model._tasks", lambda metric, subject: None)
    with pytest.raises(ModelError, match="^model.safetensors: a weight is damaged"):
        measure_task(Mmlu(), subject_on("torch"))
