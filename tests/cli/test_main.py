"""All commands: help, version, errors, exit codes, pipes, start-up time."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Callable

import pytest
from loaded_modules import loaded_by
from ratio import ratio
from toy_cli import command

from qairt import __version__
from qairt.cli.app import SUMMARIES, load

ALL = [
    "run", "tui", "sweep", "plan", "estimate", "check", "status", "attach", "logs", "cancel",
    "generate", "embed", "execute", "evaluate", "verify", "report", "export", "init", "models", "recipes", "migrate",
    "schema", "doctor", "trust", "history", "lora", "bundle", "cache", "worker",
]  # fmt: skip
CACHE = ["list", "show", "clear", "undo", "verify", "prune", "why", "push", "pull", "status"]


def test_version(qairt):
    assert qairt("--version").out == f"qairt {__version__}\n"


def test_help_names_every_command(qairt):
    said = qairt("--help")
    assert said.code == 0
    assert re.findall(r"^  (\w+)  +\S.*\.$", said.out.partition("Commands:")[2], re.MULTILINE) == ALL


GROUPS = [["history", "compare"], ["bundle", "check"], ["lora", "tune"], *(["cache", name] for name in CACHE)]


@pytest.mark.parametrize("words", [[], *([name] for name in ALL), *GROUPS], ids=" ".join)
def test_help_fits_80_columns_and_every_option_is_explained(qairt, words):
    said = qairt(*words, "--help")
    assert said.code == 0
    assert [line for line in said.out.splitlines() if len(line) > 80] == []
    assert re.findall(r"^  -.*?\S(?=\n  -|\n$)", said.out, re.MULTILINE | re.DOTALL)
    assert not re.search(r"^  -[-\w, ]+( [A-Z<|>a-z-]+)?$\n  -", said.out, re.MULTILINE), "an option without help"
    assert "..." not in said.out.partition("Commands:")[2], "a command's summary is cut off"


def test_no_command_shows_the_help(qairt):
    said = qairt()
    assert (said.code, said.out) == (2, "")
    assert said.err.startswith("Usage: qairt [OPTIONS] COMMAND [ARGS]...")
    assert "verify  Compare every cached file with its digest." in qairt("cache").err


@pytest.mark.parametrize(
    ("words", "err"),
    [
        (["frob"], "Error: No such command 'frob'.\n  `qairt --help` lists its arguments and options\n"),
        (["run"], "Error: Missing argument 'RECIPE'.\n  `qairt run --help` lists its arguments and options\n"),
        (
            ["plan", "toy.yaml", "--wat"],
            "Error: No such option: --wat\n  `qairt plan --help` lists its arguments and options\n",
        ),
        (
            ["run", "toy.yaml", "--memory", "8X"],
            "Error: Invalid value for '--memory': '8X' is not a size; write for example 8G, 500M or 16GiB\n"
            "  `qairt run --help` lists its arguments and options\n",
        ),
        (
            ["plan", "nope.yaml"],
            "Error: nope.yaml: there is no such recipe\n"
            "  `qairt recipes` lists those that come with qairt, `qairt init MODEL` writes one for your model\n",
        ),
        (["plan", "tou.yaml"], "Error: tou.yaml: there is no such recipe\n  did you mean toy.yaml?\n"),
        (
            ["plan", "smollm-135m"],
            "Error: smollm-135m: there is no such recipe\n  did you mean smollm2-135m, which comes with qairt?\n",
        ),
        (["plan", "."], "Error: .: this is a folder, not a recipe\n  it contains toy.yaml\n"),
        (
            ["plan", "toy.yaml", "stages.fan.sufix=a"],
            "Error: command line: stages.fan.sufix is not a setting of fan\n  did you mean suffix?\n",
        ),
        (
            ["plan", "toy.yaml", "fan"],
            "Error: command line: 'fan' does not set anything\n"
            "  write KEY=VALUE with a dotted key, such as stages.split_model.num_splits=3\n",
        ),
        (
            ["run", "toy.yaml", "--until", "fen"],
            "Error: there is no stage fen in this recipe\n  did you mean fan?\n",
        ),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_bad_usage(qairt, words, err):
    said = qairt(*words)
    assert (said.code, said.out, said.err) == (2, "", err)


def test_every_fault_of_a_recipe_is_reported_with_its_line(qairt, place):
    (place / "bad.yaml").write_text("backend: CPU\nstages:\n  source: {txt: a}\n  fan: {arn: x}\n  jion: {}\n")
    said = qairt("plan", "bad.yaml")
    assert said.code == 2
    assert said.err == (
        "Error: bad.yaml:3: stages.source.txt is not a setting of source\n  did you mean text?\n"
        "Error: bad.yaml:4: stages.fan.arn: input should be a valid list, not 'x'\n  change its value\n"
        "Error: bad.yaml:5: there is no stage jion\n  did you mean join?\n"
    )


def test_an_error_as_json_has_its_three_fields(qairt, place):
    (place / "bad.yaml").write_text("backend: CPU\nstages:\n  source: {txt: a}\n")
    said = qairt("plan", "bad.yaml", "--json")
    assert said.code == 2
    assert said.data["error"] == {
        "type": "RecipeError",
        "what": "stages.source.txt is not a setting of source",
        "where": "bad.yaml:3",
        "remedy": "did you mean text?",
    }


def test_stages_in_an_order_that_cannot_work(qairt, place):
    (place / "bad.yaml").write_text("backend: CPU\nstages:\n  fan: {}\n  source: {}\n")
    said = qairt("check", "bad.yaml")
    assert said.code == 2
    assert said.err == "Error: stages.fan: source must come before it but comes after\n  put source before fan\n"


def test_an_unwritable_cache_directory(qairt, place):
    (place / "file").write_text("")
    said = qairt("run", "toy.yaml", "--cache-dir", "file/cache")
    assert said.code == 1
    assert said.err.startswith("Error: ")
    assert "file/cache/pipeline_state: the cache directory cannot be written" in said.err
    assert "Traceback" not in said.err


def test_a_fault_of_qairt_shows_a_traceback_only_with_debug(qairt, monkeypatch):
    def broken(*_: object) -> None:
        raise ZeroDivisionError("by zero")

    monkeypatch.setattr("qairt.cli.find_recipe.find_recipe", broken)
    said = qairt("plan", "toy.yaml")
    assert said.code == 1
    assert said.err == (
        "Error: internal error: ZeroDivisionError: by zero\n"
        "  this is a bug in qairt; run the same command with --debug for the traceback\n"
    )
    said = qairt("plan", "toy.yaml", "--debug")
    assert said.code == 1
    assert said.err.startswith("Traceback")
    assert "Error: internal error: ZeroDivisionError: by zero" in said.err


def test_debug_after_a_double_dash_is_a_word(qairt):
    assert qairt("plan", "--", "--debug").err.startswith("Error: --debug: there is no such recipe")


@pytest.mark.parametrize("words", [["plan", "toy.yaml"], ["run", "toy.yaml"], ["schema"]])
def test_a_reader_that_leaves_is_no_error(place, words):
    child = subprocess.Popen(command(*words), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    assert child.stdout is not None
    child.stdout.close()
    assert child.wait(20) == 0
    assert child.stderr is not None
    assert child.stderr.read() == ""


def test_colour_only_on_a_terminal_that_wants_it(qairt):
    assert "\033" not in qairt("plan", "toy.yaml").out


def runs(*words: str) -> Callable[[], object]:
    return lambda: subprocess.run(words, check=True, capture_output=True)


def test_a_second_run_and_a_plan_are_quick_and_load_no_torch(place):
    subprocess.run(command("run", "toy.yaml"), check=True, capture_output=True)
    libraries = runs(sys.executable, "-c", "import pydantic, rich.console, yaml")
    assert ratio(runs(*command("run", "toy.yaml")), libraries, programs=True) < 8
    assert ratio(runs(*command("plan", "toy.yaml")), libraries, programs=True) < 8
    script = (
        "import sys, toy_cli\n"
        "for words in (['run', 'toy.yaml'], ['plan', 'toy.yaml'], ['check', 'toy.yaml'], ['cache', 'list']):\n"
        "    if words[0] == 'cache': words += ['--cache-dir', 'cache']\n"
        "    assert toy_cli.toys_and_main(words) == 0, words\n"
        "heavy = {'torch', 'onnx', 'onnx_ir', 'onnxruntime', 'transformers'} & set(sys.modules)\n"
        "sys.exit(f'loaded {heavy}' if heavy else 0)\n"
    )
    subprocess.run([sys.executable, "-c", script], check=True, capture_output=True, text=True)


HEAVY = {
    "asyncio", "http", "numpy", "pydantic", "qairt.engine", "qairt.errors", "qairt.llm", "qairt.recipe", "rich", "yaml",
}  # fmt: skip


def test_threads_of_torch_do_not_spin(qairt, monkeypatch):
    for chosen, expected in ((None, "PASSIVE"), ("ACTIVE", "ACTIVE")):
        monkeypatch.delenv("OMP_WAIT_POLICY", raising=False)
        if chosen is not None:
            monkeypatch.setenv("OMP_WAIT_POLICY", chosen)
        assert qairt("--version").code == 0
        assert os.environ["OMP_WAIT_POLICY"] == expected


def test_help_loads_typer_and_the_names_of_the_commands():
    loaded = loaded_by("from qairt.cli.main import main; main(['--help'])")
    assert loaded & HEAVY == set()
    assert {name for name in loaded if name.startswith("qairt")} == {
        "qairt", "qairt.cli", "qairt.cli.app", "qairt.cli.console", "qairt.cli.exit_codes", "qairt.cli.main",
        "qairt.printable", "qairt.version",
    }  # fmt: skip


def test_help_of_a_command_loads_that_command_alone():
    loaded = loaded_by("from qairt.cli.main import main; main(['plan', '--help'])")
    assert loaded & (HEAVY - {"qairt.errors"}) == set()
    assert {name for name in loaded if name.startswith("qairt.cli.commands.")} == {"qairt.cli.commands.plan"}


def test_importing_qairt_loads_none_of_its_parts():
    loaded = loaded_by("import qairt")
    assert {name for name in loaded if name.startswith("qairt")} == {"qairt", "qairt.version"}
    assert "typing" not in loaded


@pytest.mark.parametrize("name", ALL)
def test_a_summary_is_the_first_line_of_the_commands_help(name):
    assert load(name).get_short_help_str(limit=80) == SUMMARIES[name]
