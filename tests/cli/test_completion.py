"""What the shell completes."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from toy_cli import command

TECHNIQUES = [
    "balanced.yaml",
    "best.yaml",
    "fast.yaml",
    "lpbq.yaml",
    "lpbq_distilled.yaml",
    "lpbq_gptq.yaml",
    "lpbq_learned.yaml",
    "lpbq_mse.yaml",
    "lpbq_rotated.yaml",
    "lpbq_seqmse.yaml",
    "minmax.yaml",
]
STAGES = ["source", "fan", "upper", "join"]


@pytest.fixture
def complete(qairt, monkeypatch):
    """`complete("qairt", "plan", "")`: the candidates for the last word, as bash asks for them."""

    def ask(*words: str) -> list[str]:
        monkeypatch.setenv("_QAIRT_COMPLETE", "complete_bash")
        monkeypatch.setenv("COMP_WORDS", " ".join(words))
        monkeypatch.setenv("COMP_CWORD", str(len(words) - 1))
        said = qairt()
        monkeypatch.delenv("_QAIRT_COMPLETE")
        assert said.err == ""
        return said.out.split()

    return ask


@pytest.fixture
def runs(place: Path) -> None:
    for folder in ("cache/pipeline_state/runs/0007", "qairt-cache/a/pipeline_state/runs/0001"):
        (place / folder).mkdir(parents=True)


def test_commands(complete):
    assert complete("qairt", "st") == ["status"]
    assert complete("qairt", "cache", "") == [
        "list",
        "show",
        "clear",
        "undo",
        "verify",
        "prune",
        "why",
        "push",
        "pull",
        "status",
    ]


def test_recipes_here_in_recipes_and_shipped(complete, place):
    (place / "recipes").mkdir()
    (place / "recipes" / "mine.yaml").touch()
    (place / "notes.txt").touch()
    for words in (["plan"], ["run"], ["status"], ["cache", "verify"], ["tui"], ["migrate"]):
        assert complete("qairt", *words, "") == ["toy.yaml", "recipes/mine.yaml", "smollm2-135m"]
    assert complete("qairt", "plan", "recipes/") == ["recipes/mine.yaml"]
    assert complete("qairt", "history", "") == ["compare", "toy.yaml", "recipes/mine.yaml", "smollm2-135m"]
    assert complete("qairt", "recipes", "lpbq_m") == ["lpbq_mse.yaml"]


@pytest.mark.parametrize(
    "words",
    [["plan", "toy.yaml", "--until"], ["run", "toy.yaml", "--force"], ["cache", "show", "toy.yaml"]],
    ids=" ".join,
)
def test_stages_of_the_recipe_on_the_line(complete, words):
    assert complete("qairt", *words, "") == STAGES
    assert complete("qairt", *words, "u") == ["upper"]


def test_stages_of_no_recipe(complete, place):
    (place / "bad.yaml").write_text("stages: [")
    for recipe in ("bad.yaml", "gone.yaml"):
        assert complete("qairt", "plan", recipe, "--until", "") == []


def test_runs(complete, runs):
    assert complete("qairt", "attach", "toy.yaml", "--run", "") == ["0007"]
    assert complete("qairt", "attach", "0") == ["0001"]
    assert complete("qairt", "logs", "--run", "") == ["0001"]
    assert complete("qairt", "tui", "toy.yaml", "--attach", "") == ["0007"]


def test_runs_of_several_recipes(complete, runs, place):
    (place / "qairt-cache/b/pipeline_state/runs/0142").mkdir(parents=True)
    assert complete("qairt", "cancel", "--run", "") == ["b/0142", "a/0001"]
    assert complete("qairt", "cancel", "a/") == ["a/0001"]


def test_techniques(complete, place):
    key = "stages.quantization.recipe"
    assert complete("qairt", "run", "toy.yaml", "stages.quantization.re") == [f"{key}={name}" for name in TECHNIQUES]
    assert complete("qairt", "run", "toy.yaml", f"{key}=lpbq_l") == [f"{key}=lpbq_learned.yaml"]
    assert complete("qairt", "run", "toy.yaml", key, "=") == TECHNIQUES, "bash splits words at ="
    assert complete("qairt", "run", "toy.yaml", key, "=", "mi") == ["minmax.yaml"]
    (place / "quantization").mkdir()
    (place / "quantization" / "mine.yaml").touch()
    assert complete("qairt", "run", "toy.yaml", key, "=", "mi") == ["minmax.yaml", "mine.yaml"]
    assert complete("qairt", "run", "toy.yaml", "") == []


def test_targets(complete):
    assert complete("qairt", "generate", "toy.yaml", "--target", "") == ["cpu", "torch", "htp-emulator", "genie"]


def test_a_fault_of_completion_prints_nothing(complete, monkeypatch):
    def broken(name: str) -> None:
        raise ZeroDivisionError

    monkeypatch.setattr("qairt.cli.app.load", broken)
    assert complete("qairt", "plan", "") == []


def test_completion_loads_no_engine_and_no_toolchain(place):
    script = (
        "import os, sys\nfrom qairt.cli.main import main\n"
        "os.environ |= {'_QAIRT_COMPLETE': 'complete_bash', 'COMP_WORDS': 'qairt plan toy.yaml --until ',"
        " 'COMP_CWORD': '4'}\n"
        "assert main([]) == 0\n"
        "heavy = {'torch', 'numpy', 'onnx', 'onnxruntime', 'qairt.engine', 'qairt.llm', 'qairt.stages'}\n"
        "loaded = heavy & set(sys.modules)\n"
        "sys.exit(str(loaded) if loaded else 0)\n"
    )
    child = subprocess.run([sys.executable, "-c", script], check=False, capture_output=True, text=True)
    assert (child.stdout.split(), child.stderr) == (STAGES, "")


def test_the_script_for_the_shell(place, monkeypatch):
    monkeypatch.setenv("_TYPER_COMPLETE_TEST_DISABLE_SHELL_DETECTION", "1")
    said = subprocess.run(command("--show-completion", "bash"), check=True, capture_output=True, text=True).stdout
    assert said.endswith("complete -o default -F _qairt_completion qairt\n")
    assert "_QAIRT_COMPLETE=complete_bash" in said
    monkeypatch.setenv("HOME", str(place))
    subprocess.run(command("--install-completion", "bash"), check=True, capture_output=True)
    assert (place / ".bash_completions" / "qairt.sh").read_text() + "\n" == said
    assert f"source '{place}/.bash_completions/qairt.sh'" in (place / ".bashrc").read_text()
