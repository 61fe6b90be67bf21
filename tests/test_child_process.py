"""No Python of ours imports from the working directory, whatever it is and however it was started."""

from __future__ import annotations

import ast
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from tiny_recipe import write_recipe
from wait import until

import qairt
from qairt.child_process import python_environment, python_path
from qairt.engine.record.folder import run_folders

SHADOWS = ("random", "numpy", "torch", "json", "runpy", "socket", "sitecustomize", "usercustomize", "typing_extensions")
SHADOW = (
    "with open({heard!r}, 'a') as file:\n    file.write({name!r} + '\\n')\nraise SystemExit('imported ' + {name!r})\n"
)
SCRIPT = "import sys\nfrom qairt.cli.main import main\nsys.exit(main())\n"
OWN_COMMANDS = {"child_process.py", "toolchain/qnn/compile_child.py"}
"""The second restarts itself with the arguments it was started with."""


def test_every_command_of_a_python_child_is_built_in_one_place():
    package = Path(qairt.__file__).parent
    built = set()
    for path in package.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            names = [ast.unparse(each) for each in node.elts] if isinstance(node, (ast.List, ast.Tuple)) else []
            if "sys.executable" in names or (
                isinstance(node, ast.Call) and "sys.executable" in map(ast.unparse, node.args)
            ):
                built.add(str(path.relative_to(package)))
    assert built == OWN_COMMANDS


@pytest.fixture
def hostile(tmp_path: Path) -> Path:
    """A folder with a recipe, full of files that say that they were imported, and end who imported them."""
    folder = tmp_path / "hostile"
    write_recipe(folder, backend="CPU", technique="minmax.yaml")
    for name in SHADOWS:
        (folder / f"{name}.py").write_text(SHADOW.format(heard=str(tmp_path / "imported"), name=name))
    return folder


@pytest.mark.parametrize("program", [["-m", "qairt"], ["qairt"]], ids=["python -m qairt", "the script"])
def test_a_folder_full_of_modules_runs_none_of_them(hostile: Path, tmp_path: Path, program: list[str], monkeypatch):
    monkeypatch.delenv("PYTHONPATH")
    script = tmp_path / "bin" / "qairt"
    script.parent.mkdir()
    script.write_text(SCRIPT)
    start = [sys.executable, *([str(script)] if program == ["qairt"] else program)]

    def qairt_says(*words: str) -> str:
        done = subprocess.run([*start, *words], cwd=hostile, capture_output=True, text=True)
        assert (done.returncode, done.stderr) == (0, ""), done.stderr
        return done.stdout

    assert "model_loading" in qairt_says("plan", "recipe.yaml")
    assert "valid order" in qairt_says("check", "recipe.yaml")
    qairt_says("run", "recipe.yaml", "--until", "model_loading", "--no-tui")
    started = json.loads(qairt_says("run", "recipe.yaml", "--until", "export", "--detach", "--json"))
    (run,) = [each for each in run_folders(Path(started["folder"]).parents[1]) if each.id == started["run"]]
    until(lambda: run.liveness() != "running")
    assert '"status":"done"' in run.events.read_text()
    assert not (tmp_path / "imported").exists()


def test_entries_of_the_module_path_that_mean_the_working_directory_are_dropped(tmp_path: Path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(["", "modules", "/opt/modules"]))
    assert python_path() == {"PYTHONPATH": os.pathsep.join([str(tmp_path / "modules"), "/opt/modules"])}
    assert python_environment()["PYTHONSAFEPATH"] == "1"
    monkeypatch.setenv("PYTHONPATH", os.pathsep)
    assert python_path() == {}
    assert "PYTHONPATH" not in python_environment()


STAGE = """
from qairt.engine.stage import Expansion, Stage, StageConfig, StageInput, StageOutput, Task
class Own(Stage[StageConfig, StageInput, StageOutput]):
    name = "own"
    config_type, input_type, output_type = StageConfig, StageInput, StageOutput
    def expand(self, batch, env):
        return Expansion([Task(coord=(), sources=())])
    def run(self, task, context):
        import random
        print(random.__file__)
        return StageOutput()
"""
USER = """
import random
from pathlib import Path
from own_stage import Own
from qairt.engine.pipeline import Pipeline
from qairt.engine.stage import StageConfig
Path(__file__).with_name("random.py").write_text("raise SystemExit('imported')")
result = Pipeline([Own(StageConfig())], Path("cache")).construct()
print(result.status, *result.failed)
"""


def test_a_stage_beside_the_users_script_is_found_and_its_neighbours_shadow_nothing(tmp_path: Path):
    scripts = tmp_path / "scripts"
    scripts.mkdir()
    (scripts / "own_stage.py").write_text(STAGE)
    (scripts / "user.py").write_text(USER)
    done = subprocess.run([sys.executable, str(scripts / "user.py")], cwd=tmp_path, capture_output=True, text=True)
    assert done.stdout == "done\n", done.stderr
    (log,) = (tmp_path / "cache").rglob("own.*.log")
    assert log.read_text().strip() == __import__("random").__file__
