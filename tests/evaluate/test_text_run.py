from __future__ import annotations

import json
import math

import numpy as np
import pytest
import torch
from tiny_models import hf_logits, save_tiny

from qairt.errors import EvaluationError
from qairt.evaluate.metric import TextMetric
from qairt.evaluate.text_metrics import KlDivergence, Perplexity, Top1Agreement
from qairt.evaluate.text_run import measure_text
from qairt.evaluate.texts import chunks_of
from qairt.model.describe import describe_model
from qairt.model.parameters import open_parameters
from qairt.model.reference import Reference
from qairt.quant.simulate import Simulated

ALL = [Perplexity(dataset="text.txt"), KlDivergence(dataset="text.txt"), Top1Agreement(dataset="text.txt")]
TARGETS = ["torch", "quantsim", "cpu"]


@pytest.mark.parametrize("family", ["llama", "qwen2", "qwen3"])
def test_perplexity_is_that_of_hugging_face(family, subject_on, tmp_path):
    """The loss of `model(input_ids=chunk, labels=chunk)` over all chunks; every chunk has as many tokens."""
    model = save_tiny(tmp_path / "model", family, vocab_size=259)
    config = describe_model(tmp_path / "model").config
    subject = subject_on(
        "torch", config=config, context_length=48, open_parameters=lambda: open_parameters(tmp_path / "model", config)
    )
    chunks = chunks_of(ALL[0], subject)
    assert len(chunks) > 5
    with torch.no_grad():
        batch = torch.from_numpy(np.stack(chunks))
        expected = math.exp(float(model(input_ids=batch, labels=batch).loss))
    assert measure_text(ALL[:1], subject) == [pytest.approx(expected, rel=2e-5)]


def test_quantsim_and_the_graphs_agree(subject_on):
    simulated, real = (
        dict(zip(("ppl", "kl", "top"), measure_text(ALL, subject_on(t)), strict=True)) for t in TARGETS[1:]
    )
    assert real["ppl"] == pytest.approx(simulated["ppl"], rel=5e-3)
    assert real["kl"] == pytest.approx(simulated["kl"], rel=0.05)
    assert real["top"] == pytest.approx(simulated["top"], abs=0.02)
    assert real["kl"] > 0
    assert real["top"] < 1
    assert real["ppl"] != measure_text(ALL[:1], subject_on("torch"))[0]


@pytest.mark.parametrize("length", [9, 17, 30])
def test_chunks_that_no_call_divides(length, subject_on):
    simulated, real = (measure_text(ALL[:1], subject_on(t, context_length=length)) for t in TARGETS[1:])
    assert real == pytest.approx(simulated, rel=5e-3)


def test_distances_from_the_float_model(subject_on, parameters, encodings, hf_model):
    """Against the definitions, in float64, over whole chunks."""
    subject = subject_on("quantsim")
    simulated = Simulated(parameters, encodings, keep_weights=True)
    terms, same = [], []
    for chunk in chunks_of(ALL[0], subject):
        p, q = (
            torch.from_numpy(np.asarray(logits, np.float64)).log_softmax(-1)[:-1]
            for logits in (hf_logits(hf_model, chunk.tolist()), simulated.logits(chunk).numpy())
        )
        terms.append((p.exp() * (p - q)).sum(-1))
        same.append(p.argmax(-1) == q.argmax(-1))
    expected = [float(torch.cat(terms).mean()), float(torch.cat(same).double().mean())]
    assert measure_text(ALL[1:], subject) == pytest.approx(expected, rel=1e-3)


def test_the_float_model_has_no_distance_from_itself(subject_on):
    assert measure_text(ALL[1:], subject_on("torch")) == [0.0, 1.0]


def test_the_number_of_threads_changes_nothing(subject_on, tmp_path):
    before = torch.get_num_threads()
    found = []
    try:
        for threads in (1, 3):
            torch.set_num_threads(threads)
            found.append(measure_text(ALL, subject_on("quantsim", state_folder=tmp_path / f"{threads}")))
    finally:
        torch.set_num_threads(before)
    assert found[0] == found[1]


def test_one_block_at_a_time(subject_on, parameters, monkeypatch):
    """Weights are read block by block, each once for all chunks, and the block before is let go of."""
    from qairt.quant.simulate import SimulatedOps

    read, held = [], []
    weight = SimulatedOps.weight

    def watched(self, name):
        if name not in self._weights:
            read.append(name)
        value = weight(self, name)
        held.append({".".join(key.split(".")[:3]) for key in self._weights})
        return value

    monkeypatch.setattr(SimulatedOps, "weight", watched)
    measure_text(ALL[:1], subject_on("torch"))
    assert sorted(read) == sorted(parameters.names())
    assert max(map(len, held)) <= 2  # norm and lm_head


@pytest.mark.parametrize("target", TARGETS)
def test_a_killed_evaluation_resumes(target, subject_on, monkeypatch):
    """Stopped after some chunks, with a line cut off in the middle as a kill may leave it."""
    monkeypatch.setattr("qairt.evaluate.subject.GROUP_BYTES", 64 * 64 * 4)  # 64 tokens
    whole = measure_text(ALL, subject_on(target, identity="whole"))
    chunks = len(chunks_of(ALL[0], subject_on(target)))

    def stop(what, part):
        if part > 0.5:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        measure_text(ALL, subject_on(target, progress=stop))
    (path,) = [p for p in (subject_on(target).state_folder / "evaluate").iterdir() if "whole" not in p.name]
    kept = path.read_bytes()
    lines = kept.splitlines(keepends=True)
    assert 0 < len(lines) < 3 * chunks
    path.write_bytes(b"".join(lines[:-1]) + lines[-1][:20])

    parts_done = []
    again = measure_text(ALL, subject_on(target, progress=lambda what, part: parts_done.append(part)))
    assert again == whole
    assert parts_done[-1] == 1.0
    made = [json.loads(line) for line in path.read_bytes().splitlines() if line.endswith(b"}")]
    assert len(made) == 3 * chunks, "what was measured is not measured again"
    parts_done.clear()
    assert measure_text(ALL, subject_on(target, progress=lambda what, part: parts_done.append(part))) == whole
    assert parts_done == []


def test_more_chunks_reuse_the_measured_ones(subject_on):
    said = []
    subject = subject_on("torch", progress=lambda what, part: said.append(what))
    few = Perplexity(dataset="text.txt", chunks=2)
    both = [few, ALL[0].model_copy(update={"display_name": "all"})]
    first = measure_text([few], subject)
    assert measure_text(both, subject)[0] == first[0]
    subject.identity = "another"
    assert measure_text(both, subject)[0] == first[0]
    assert said[0] == "perplexity on 2 chunks of text.txt"
    starts = [chunk[0] for chunk in chunks_of(ALL[0], subject)]
    assert chunks_of(few, subject)[1][0] == starts[len(starts) // 2], "spread over the text"


def test_a_text_that_repeats_counts_twice(subject_on, tmp_path):
    text = "a" * 64 + "zyxwvutsrqponmlkjihgfedcba098765"
    (tmp_path / "again.txt").write_text(text)
    subject = subject_on("torch")
    model = Reference(subject.open_parameters(), keep_weights=True)
    losses = []
    for chunk in chunks_of(Perplexity(dataset="again.txt"), subject):
        rows = model.logits(chunk).log_softmax(-1)
        losses += [-float(rows[place, token]) for place, token in enumerate(chunk[1:])]
    assert len(losses) == 3 * 31
    assert measure_text([Perplexity(dataset="again.txt")], subject) == [
        pytest.approx(math.exp(np.mean(losses)), rel=1e-4)
    ]


def test_nan_is_an_error_and_is_not_stored(subject_on, parameters):
    class Broken(TextMetric):
        name = "broken"

        def sums(self, scores):
            return {"loss": float("nan")}

        def score(self, sums):
            return sums["loss"]

    subject = subject_on("torch")
    with pytest.raises(EvaluationError, match=r"^broken: the model computes NaN or infinity on the text that begins"):
        measure_text([Broken(dataset="text.txt")], subject)
    assert not (subject.state_folder / "evaluate").exists()
