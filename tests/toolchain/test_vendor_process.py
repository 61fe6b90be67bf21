"""Scripts that are started by their path: no file near them, or in the folder they start in, shadows a library."""

from __future__ import annotations

import json
import os
import select
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import wait

from qairt.child_process import python_command, python_environment
from qairt.toolchain import genie, qnn, vendor_process
from qairt.toolchain.qnn import process as qnn_process

SHADOWS = ("random", "json", "config", "process")
CHILD = """
import importlib.util, json, sys
found = [name for name in ("config", "process") if importlib.util.find_spec(name) is not None]
import random
with open("result.json", "w") as file:
    json.dump({"fixed_addresses": True, "files": [json.__file__, random.__file__], "found": found}, file)
"""


@pytest.fixture
def job(tmp_path: Path) -> Path:
    """A job's folder, and beside the script, full of files that end whoever imports them."""
    for folder in (tmp_path / "scripts", tmp_path / "job"):
        folder.mkdir()
        for name in SHADOWS:
            (folder / f"{name}.py").write_text(f"raise SystemExit('imported {name} from {folder}')\n")
    (tmp_path / "scripts" / "compile_child.py").write_text(CHILD)
    return tmp_path / "job"


@pytest.mark.parametrize("variable", ["", os.pathsep, "."], ids=["empty", "two empty entries", "relative"])
def test_a_script_imports_nothing_from_its_folder_or_the_jobs(job: Path, monkeypatch, variable: str):
    monkeypatch.setenv("PYTHONPATH", variable)
    monkeypatch.setattr(qnn_process, "__file__", str(job.parent / "scripts" / "process.py"))
    result = qnn_process.run_job(job, {"action": "dlc", "graphs": [], "options": {}}, where="x")
    assert result["found"] == []
    assert not [path for path in result["files"] if Path(path).is_relative_to(job.parent)]


def test_a_script_inherits_no_entry_that_means_the_working_directory(job: Path, monkeypatch):
    monkeypatch.setenv("PYTHONPATH", os.pathsep)
    command = python_command(str(job.parent / "scripts" / "compile_child.py"))
    subprocess.run(command, cwd=job, env=python_environment(), check=True)
    assert json.loads((job / "result.json").read_text())["found"] == []


@pytest.mark.parametrize("script", ["compile_child.py", "inspect_child.py", "child.py"])
def test_our_scripts_import_nothing_of_qairt_or_of_their_folders(script: str, tmp_path: Path):
    package = genie if script == "child.py" else qnn
    folder = Path(str(package.__file__)).parent
    shutil.copy(folder / script, tmp_path)
    for neighbour in folder.glob("*.py"):
        if neighbour.name != script:
            (tmp_path / neighbour.name).write_text("raise SystemExit('imported a neighbour')\n")
    loaded = f"import sys, runpy; runpy.run_path({str(tmp_path / script)!r}); print('qairt' in sys.modules)"
    done = subprocess.run([sys.executable, "-P", "-c", loaded], cwd=tmp_path, capture_output=True, text=True)
    assert (done.stdout, done.stderr) == ("False\n", "")


def test_the_last_lines_are_read_though_the_program_ends_between_two_looks(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
):
    """The first look finds nothing, as the program writes and ends right after it."""
    real, looks = select.select, []

    def look(*arguments):
        looks.append(arguments)
        if len(looks) > 1:
            return real(*arguments)
        (tmp_path / "go").touch()
        wait.until(lambda: (tmp_path / "ended").exists())
        (output,) = arguments[0]
        wait.until(lambda: real([output], [], [], 0)[0])
        return [], [], []

    monkeypatch.setattr(select, "select", look)
    script = "while ! test -e go; do :; done; echo first; echo last; touch ended"
    ended = vendor_process.run(["sh", "-c", script], cwd=tmp_path, env=os.environ)
    assert (ended.code, ended.lines) == (0, ["first", "last"])
