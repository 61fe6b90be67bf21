"""`qairt evaluate` on a real run of a tiny model; on one that is not finished."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import wait
from tiny_recipe import write_recipe

from qairt.cli.main import main
from qairt.cli.watch.evaluation import ProgressLines, time_left
from qairt.engine.record.runs import run_summaries
from qairt.engine.run.options import RunOptions
from qairt.llm import LLMPipeline

ALL = ("-m", "perplexity", "-m", "kl_divergence", "-m", "top1_agreement")
CHUNKS = 8


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """A finished run for backend CPU."""
    folder = tmp_path_factory.mktemp("evaluated")
    path = write_recipe(folder, backend="CPU")
    words = ["stages.split_model.num_splits=2", "--until", "quantize", "--executor", "inline"]
    assert main(["run", str(path), *words, "--cache-dir", str(folder / "cache")]) == 0
    path.write_text(path.read_text().replace("num_splits: 3", "num_splits: 2"))
    return path, folder / "cache"


@pytest.fixture
def evaluate(qairt, finished):
    path, cache = finished

    def run(*words):
        return qairt("evaluate", path, "--cache-dir", cache, "--chunks", CHUNKS, "--dataset", "text.txt", *words)

    return run


def test_scores_and_what_they_rest_on(evaluate, finished):
    said = evaluate("--target", "torch", *ALL)
    assert said.code == 0, said.err
    lines = [line.split() for line in said.out.splitlines()]
    assert lines[0] == ["metric", "score", "on"]
    assert [line[0] for line in lines[1:]] == ["perplexity", "kl_divergence", "top1_agreement"]
    assert lines[2] == ["kl_divergence", "0.0000", "8", "chunks", "of", "text.txt"]
    assert "perplexity, kl_divergence, top1_agreement on 8 chunks of text.txt\n" in said.err
    assert ", of the float model (torch), " in said.err


def test_quantsim_and_cpu_agree_and_are_recorded(evaluate, finished):
    simulated = evaluate("--target", "quantsim", "--json", *ALL).data
    real = evaluate("--json", *ALL).data
    assert real["scores"]["perplexity"] == pytest.approx(simulated["scores"]["perplexity"], rel=5e-3)
    assert (simulated["target"], real["target"]) == ("quantsim", "cpu")
    assert real["number"] == simulated["number"] + 1
    assert real["metrics"]["perplexity"]["chunks"] == CHUNKS
    assert real["recipe"]["stages"]["prepare_exports"] == {"arn": [1, 8], "context_length": 32}
    assert real["context_length"] == 32, "that of the graphs"
    for name in ("model_digest", "recipe_digest"):
        assert len(real[name]) == 64
        assert real[name] == simulated[name]
    assert real["toolchain"].startswith("onnxruntime ")
    state = finished[1] / "pipeline_state"
    held = json.loads((state / "metrics.json").read_text())
    assert held["evaluate"]["cpu"]["metrics"] == real["metrics"]
    assert held["quantize"]["items"] == 4, "what the run measured is still there"
    line = json.loads((state / "history.jsonl").read_text().splitlines()[-1])
    assert line["metrics"] == real["metrics"]


def test_the_report_has_the_scores(evaluate, finished, qairt, tmp_path):
    score = evaluate("--json").data["scores"]["perplexity"]
    path, cache = finished
    assert qairt("report", path, "--cache-dir", cache, "--md", tmp_path / "report.md").code == 0
    text = (tmp_path / "report.md").read_text()
    assert "was not measured" not in text
    assert f"{score:,.2f}" in text


def test_list_and_compare(evaluate, qairt, finished):
    path, cache = finished
    for target in ("torch", "quantsim"):
        evaluate("--target", target)
    made = qairt("evaluate", path, "--cache-dir", cache, "--list", "--json").data["evaluations"]
    a, b = len(made) - 1, len(made)
    assert [one["number"] for one in made] == list(range(1, b + 1))
    listed = qairt("evaluate", "--cache-dir", cache, "--list").out.splitlines()
    assert len(listed) == b + 1
    assert listed[-1].split()[0] == str(b)

    said = qairt("evaluate", path, "--cache-dir", cache, "--compare", a, b)
    assert said.code == 0
    assert f"evaluation {a}" in said.out
    assert " %) worse" in said.out or " %) better" in said.out
    assert "\ntarget " in said.out
    data = qairt("evaluate", "--compare", a, b, "--cache-dir", cache, "--json").data
    assert {"name": "target", "a": "torch", "b": "quantsim"} in data["differences"]
    assert "Recipe, model, toolchain, target and texts are the same." in qairt(
        "evaluate", path, "--cache-dir", cache, "--compare", a, a
    ).out  # fmt: skip
    said = qairt("evaluate", path, "--cache-dir", cache, "--compare", a, b + 9)
    assert (said.code, said.err.splitlines()[0].endswith(f"there is no evaluation {b + 9}")) == (1, True)


def test_metrics_of_the_recipe(qairt, finished, tmp_path):
    path, cache = finished
    metrics = "[{name: perplexity, display_name: ppl, dataset: text.txt, chunks: 2}, {name: generation, prompts: "
    metrics += "[{prompt: Hello, expected: zzzz}], max_new_tokens: 2}]"
    words = (f"evaluator.metrics={metrics}", f"evaluator.output_dir={tmp_path / 'scores'}", "--json")
    data = qairt("evaluate", path, "--cache-dir", cache, *words).data
    assert list(data["scores"]) == ["ppl", "generation"]
    assert data["scores"]["generation"] == 0.0
    written = json.loads((tmp_path / "scores" / f"evaluation_{data['number']}.json").read_text())
    assert written["metrics"] == data["metrics"]
    simulated = qairt("evaluate", path, "--cache-dir", cache, "--target", "quantsim", *words).data
    assert simulated["scores"]["ppl"] == pytest.approx(data["scores"]["ppl"], rel=5e-3)


def test_by_python_and_in_the_list_of_runs(finished):
    path, cache = finished
    pipeline = LLMPipeline.from_recipe(path, cache_dir=cache)
    pipeline.construct(RunOptions(executor="inline", until="quantize"))
    scores = pipeline.evaluate("quantsim", metrics=["top1_agreement"], dataset=path.parent / "text.txt", chunks=2)
    assert list(scores) == ["top1_agreement"]
    assert 0 < scores["top1_agreement"] <= 1
    assert run_summaries(pipeline.state_folder)[0].metrics == {}
    scores = pipeline.evaluate("quantsim", dataset=path.parent / "text.txt", chunks=2)
    assert run_summaries(pipeline.state_folder)[0].metrics == {"ppl": scores["perplexity"]}
    pipeline.evaluate("torch", dataset=path.parent / "text.txt", chunks=2)
    assert run_summaries(pipeline.state_folder)[0].metrics == {"ppl": scores["perplexity"]}


@pytest.mark.parametrize(
    ("words", "code", "err"),
    [
        (
            ["-m", "perplexty"],
            2,
            "there is no metric perplexty\n  did you mean perplexity? the metrics are arc_challenge, ",
        ),
        (
            ["evaluator.metrics=[{name: perplexity, chunk: 3}]"],
            2,
            "chunk is not an argument of perplexity\n  did you mean chunks?",
        ),
        (["--dataset", "gone.txt"], 2, "Error: gone.txt: there is no such text file\n  give a UTF-8 text file: "),
        (["--dataset", "text.txt", "--chunks", "5000"], 2, "5000 chunks take 160,000\n  ask for at most 93 chunks\n"),
        (["evaluator.context_length=64"], 2, "chunks of 64 tokens: the graphs hold 32\n  set evaluator.context_length"),
        (["-m", "mmlu"], 2, "the metric mmlu: it needs the package lm-eval, which is not installed\n  pip install"),
        (
            ["-m", "lm_eval"],
            2,
            "task is missing\n  add it; lm_eval takes display_name, num_fewshot, limit, include_path, score, task\n",
        ),
        (["--dataset", "wikitext"], 2, "needs the package datasets\n  pip install 'qairt[eval]', or give a UTF-8 text"),
        (["-m", "generation"], 2, "prompts is missing\n  add it; generation takes display_name, prompts, match, "),
    ],
)
def test_errors_are_reported_before_work_starts(qairt, finished, words, code, err, monkeypatch):
    path, cache = finished
    for package in ("lm_eval", "datasets"):
        monkeypatch.setitem(sys.modules, package, None)
    before = sorted((cache / "pipeline_state" / "history.jsonl").read_text())
    said = qairt("evaluate", path, "--cache-dir", cache, *words)
    assert said.code == code
    assert err in said.err
    assert sorted((cache / "pipeline_state" / "history.jsonl").read_text()) == before


@pytest.mark.parametrize(
    ("words", "err"),
    [
        (
            ["--dataset", "wikitext"],
            "Error: wikitext: there is no such file, and loading it from the Hugging Face hub failed: Couldn't reach ",
        ),
        (["-m", "winogrande"], "Error: the metric winogrande: lm-eval cannot run the task winogrande: Couldn't reach "),
    ],
)
def test_without_a_network(finished, words, err, tmp_path):
    """The packages themselves, told that there is none: otherwise they try for half a minute."""
    pytest.importorskip("datasets")
    pytest.importorskip("lm_eval")
    path, cache = finished
    before = sorted(cache.rglob("*"))
    child = subprocess.run(
        [sys.executable, "-m", "qairt", "evaluate", str(path), "--cache-dir", str(cache), "--target", "torch", *words],
        capture_output=True,
        check=False,
        text=True,
        env=os.environ | {"HF_HUB_OFFLINE": "1", "HF_HOME": str(tmp_path)},
    )
    assert child.returncode == 2
    (said,) = (line for line in child.stderr.splitlines() if line.startswith("Error"))
    assert said.startswith(err)
    assert "Traceback" not in child.stderr
    assert (child.stdout, sorted(cache.rglob("*"))) == ("", before)


def test_a_wrong_metric_is_seen_by_every_command(qairt, finished):
    path, cache = finished
    said = qairt("plan", path, "--cache-dir", cache, "evaluator.metrics=[{name: nothing_like_it}]")
    assert said.code == 2
    assert "Error: command line: there is no metric nothing_like_it\n  the metrics are arc_challenge, " in said.err


def test_before_a_run_it_names_the_command_to_run(qairt, finished):
    path, _ = finished
    for target in ("cpu", "quantsim", "torch"):
        said = qairt("evaluate", path, "--cache-dir", "fresh", "--target", target)
        assert said.code == 1
        assert "not built yet" in said.err
        assert f"  qairt run {path} --cache-dir {Path.cwd() / 'fresh'}\n" in said.err
    assert qairt("evaluate").code == 2
    assert qairt("evaluate", path, "--cache-dir", "fresh", "--list").code == 2


def test_a_killed_command_resumes(finished, qairt):
    """kill -9 in the middle: what was measured is there, and the next call measures the rest only."""
    path, cache = finished
    words = ["evaluate", str(path), "--cache-dir", str(cache), "--dataset", str(path.parent / "text.txt"), "--json"]
    folder = cache / "pipeline_state" / "evaluate"

    def lines():
        return sum(len(file.read_bytes().splitlines()) for file in folder.glob("*.jsonl")) if folder.is_dir() else 0

    before = lines()
    child = subprocess.Popen(
        [sys.executable, "-m", "qairt", *words], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, env=os.environ
    )
    wait.until(lambda: lines() >= before + 10 or child.poll() is not None)
    child.send_signal(signal.SIGKILL)
    child.wait()
    kept = lines()
    assert before + 10 <= kept
    data = qairt(*words).data
    assert data["metrics"]["perplexity"]["chunks"] == 93
    assert lines() > kept or kept == before + 93
    for file in folder.glob("*.jsonl"):
        pieces = [line.split('"found"')[0] for line in file.read_text().splitlines() if line.endswith("}}")]
        assert len(pieces) == len(set(pieces)), "nothing was measured twice"
    again = qairt(*words).data
    assert again["scores"] == data["scores"]


DIES = """
import os, signal, sys
from qairt.cli.main import main

moment, *words = sys.argv[1:]
write, replace = os.write, os.replace

def half_a_line(handle, data):
    if data.startswith(b'{"evaluation"'):
        write(handle, data[: len(data) // 2])
        os.kill(os.getpid(), signal.SIGKILL)
    return write(handle, data)

def not_yet_in_its_place(source, target):
    if os.path.basename(target) == "metrics.json":
        os.kill(os.getpid(), signal.SIGKILL)
    replace(source, target)

if moment == "half a line":
    os.write = half_a_line
else:
    os.replace = not_yet_in_its_place
main(words)
"""
"""A process that kills itself while it keeps the scores."""


@pytest.mark.parametrize("moment", ["half a line", "not yet in its place"])
def test_killed_while_scores_are_kept(moment, finished, qairt):
    path, cache = finished
    words = ["evaluate", str(path), "--cache-dir", str(cache), "--target", "quantsim", "--chunks", "3"]
    words += ["--dataset", str(path.parent / "text.txt"), "--json"]
    state = cache / "pipeline_state"
    made = qairt(*words).data["number"]
    before = (state / "metrics.json").read_bytes()
    child = subprocess.run([sys.executable, "-c", DIES, moment, *words], capture_output=True, check=False)
    assert child.returncode == -signal.SIGKILL
    assert (state / "metrics.json").read_bytes() == before
    kept = made + (moment == "not yet in its place")
    assert len(qairt("evaluate", path, "--cache-dir", cache, "--list", "--json").data["evaluations"]) == kept
    again = qairt(*words).data
    assert again["number"] == kept + 1
    held = json.loads((state / "metrics.json").read_text())
    assert held["evaluate"]["quantsim"]["time"] == again["time"]
    assert held["quantize"]["items"] == 4, "what the run measured is still there"


def test_lines_where_nobody_looks():
    said, now = [], [0.0]
    lines = ProgressLines(said.append, lambda: now[0])
    for seconds, part in ((0, 0.0), (4, 0.1), (10, 0.25), (15, 0.4), (20, 0.5), (40, 1.0)):
        now[0] = float(seconds)
        lines("perplexity", part)
    assert said == ["perplexity", "perplexity: 25%, about 30 s left", "perplexity: 50%, about 20 s left"]
    assert time_left(0.0, 5.0) == ""
