"""Commands on a recipe with `toolchain: sdk`: missing parts are reported with a remedy."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
import yaml
from sdk_stand_in import install
from tiny_recipe import write_recipe

from qairt.cli import probes
from qairt.toolchain.sdk.install import PLATFORM

STAGES = ("convert", "quantize", "generate_context_binary")


@pytest.fixture
def recipe(place: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.delenv("QAIRT_SDK_ROOT", raising=False)
    monkeypatch.setenv("QAIRT_SDK_PYTHON", sys.executable)
    monkeypatch.setattr(probes, "compiler", lambda: probes.Probe("HTP compiler", "ok", "works", "backend HTP"))
    path = write_recipe(place / "tiny", technique="minmax.yaml")
    content = yaml.safe_load(path.read_text())
    for stage in STAGES:
        content["stages"][stage]["toolchain"] = "sdk"
    path.write_text(yaml.safe_dump(content, sort_keys=False))
    return path


def test_without_an_sdk_planning_works_and_a_run_explains_how_to_get_one(qairt, recipe, place):
    plan = qairt("plan", recipe, "--json")
    assert plan.code == 0
    assert plan.data["to_run"] == plan.data["items"] > 20
    for command in ("check", "run"):
        said = qairt(command, recipe)
        assert said.code == 3
        told = " ".join((said.out + said.err).split())
        assert "no QAIRT SDK is configured: neither sdk_root nor $QAIRT_SDK_ROOT is set" in told
        assert "install the Qualcomm AI Runtime SDK" in told
    assert said.err.count("no QAIRT SDK") == 1
    assert not list(place.rglob("convert_*"))


def test_check_names_the_version_and_warns_of_what_may_not_work(qairt, recipe, place):
    root = install(place / "sdk")
    said = qairt("check", recipe, f"sdk_root={root}", "--json")
    assert said.code == 0, said.out
    told = [(found["status"], found["text"]) for found in said.data["findings"] if found["subject"] == "dependencies"]
    assert told[-1] == ("ok", f"QAIRT SDK 2.43.0.260128 in {root}, for {', '.join(STAGES)}")
    (warning,) = [text for status, text in told if status == "warning"]
    assert "its libraries are built for 3.10" in warning
    assert "Warning" not in said.err


def test_check_names_the_line_of_the_setting(qairt, recipe, place):
    install(place / "tiny" / "sdk", version="2.20.0.240223")
    content = recipe.read_text()
    recipe.write_text(f"sdk_root: sdk\n{content}")
    said = qairt("check", recipe, "--json")
    assert said.code == 3
    (error,) = [found for found in said.data["findings"] if found["status"] == "error"]
    assert error["text"] == (f"{recipe}:1: sdk_root: QAIRT SDK 2.20.0.240223 is too old: 2.31 to 2.51 are supported")


def test_a_mixture_that_cannot_work_is_a_fault_of_the_recipe(qairt, recipe, place):
    said = qairt("check", recipe, "stages.convert.toolchain=qnn", f"sdk_root={install(place / 'sdk')}")
    assert said.code == 2
    assert "toolchain: sdk needs the same of the stage convert" in " ".join(said.out.split())


def test_doctor_tells_what_is_there_and_what_is_missing(qairt, recipe, place):
    root = install(place / "sdk")
    said = qairt("doctor", recipe, f"sdk_root={root}", "--json")
    found = [probe for probe in said.data["probes"] if probe["name"] == "QAIRT SDK"]
    assert (found[0]["status"], found[0]["found"]) == ("ok", f"2.43.0.260128 in {root}")
    assert [probe["status"] for probe in found] == ["ok", "warning"]
    assert said.code == 0
    (root / "bin" / PLATFORM / "qairt-quantizer").chmod(0o600)
    said = qairt("doctor", recipe, f"sdk_root={root}")
    assert said.code == 3
    assert f"MISSING  QAIRT SDK: qairt-quantizer is not executable (in {root}/bin/{PLATFORM})" in said.out
    assert f"do:  chmod +x {root}/bin/{PLATFORM}/*" in said.out


def test_doctor_starts_the_converter(qairt, recipe, place):
    root = install(place / "sdk")
    (root / "lib" / "python" / "sdk_tools.py").write_text("import a_package_of_the_vendor\n")
    said = qairt("doctor", recipe, f"sdk_root={root}")
    assert said.code == 3
    assert "the SDK's Python lacks a package, or has a version of it that the SDK does not support" in said.out
    assert "do:  run the SDK's bin/check-python-dependency with that Python" in said.out


def test_doctor_without_a_recipe_takes_it_as_optional(qairt, place, recipe, monkeypatch):
    (found,) = [probe for probe in qairt("doctor", "--json").data["probes"] if probe["name"] == "QAIRT SDK"]
    assert (found["status"], found["found"]) == ("warning", "not configured (optional)")
    monkeypatch.setenv("QAIRT_SDK_ROOT", str(place / "gone"))
    said = qairt("doctor", "--json")
    (found,) = [probe for probe in said.data["probes"] if probe["name"] == "QAIRT SDK"]
    assert (found["status"], found["found"]) == ("warning", f"the folder {place}/gone does not exist")
    assert said.code == 0


def test_an_sdk_in_a_recipes_folder_runs_only_once_the_user_trusts_it(qairt, recipe, place, monkeypatch):
    monkeypatch.setenv("XDG_CONFIG_HOME", str(place / "config"))
    root, started = install(place / "tiny" / "tools"), place / "started"
    (root / "sdk.yaml").unlink()
    for tool in (root / "bin" / PLATFORM).iterdir():
        tool.write_text(f"#!/bin/sh\necho $0 >> {started}\necho 2.43.0.1\n")
    recipe.write_text(f"sdk_root: tools\n{recipe.read_text()}")
    what = f"the recipe names the SDK in {root}, and its programs run with your rights only if you trust them"
    remedy = f"if you do: qairt trust {root}   (or set QAIRT_SDK_ROOT to it)"
    assert qairt("plan", recipe).code == 0
    for command in ("check", "run", "doctor"):
        said = qairt(command, recipe)
        assert said.code == 3
        told = " ".join((said.out + said.err).split())
        assert f"{what} " in told
        assert " ".join(remedy.split()) in told
    assert not started.exists()

    assert qairt("trust", root).out == f"{root} is trusted: recipes may run the SDKs in it\n"
    assert qairt("trust", "--list").out == f"{root}\n"
    assert qairt("check", recipe).code == 0
    assert set(started.read_text().split()) == {str(root / "bin" / PLATFORM / "qairt-converter")}
    assert qairt("trust", "--remove", root).out == f"{root} is no longer trusted\n"
    assert qairt("check", recipe).code == 3
    monkeypatch.setenv("QNN_SDK_ROOT", str(root))
    assert qairt("check", recipe).code == 0, "the environment is the user's own word"


def test_what_cannot_be_trusted_is_said(qairt, place, monkeypatch):
    monkeypatch.setenv("XDG_CONFIG_HOME", str(place / "config"))
    said = qairt("trust", place / "gone")
    assert (said.code, said.err) == (
        2,
        f"Error: {place / 'gone'}: there is no such folder\n  give the folder with bin/ and lib/\n",
    )
    said = qairt("trust", "--remove", place)
    assert (said.code, said.err) == (2, f"Error: {place}: it is not trusted\n  qairt trust --list\n")
    assert "name a folder, or list the trusted ones with --list" in qairt("trust").err
    assert qairt("trust", "--list").out == ""
