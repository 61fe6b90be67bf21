"""`qairt doctor`: what is installed and what is missing."""

from __future__ import annotations

import shutil
import sys
from importlib import metadata

import pytest

from qairt.cli import probes


@pytest.mark.compiler
def test_everything_is_here(qairt):
    said = qairt("doctor", "--json")
    found = {probe["name"]: probe for probe in said.data["probes"]}
    assert said.code == 0, [probe for probe in said.data["probes"] if probe["status"] == "missing"]
    assert found["HTP compiler"]["found"].startswith("works: onnxruntime ")
    assert "QNN 2." in found["HTP compiler"]["found"]
    assert found["torch"]["found"] == metadata.version("torch")
    assert all(probe["enables"] for probe in found.values())


def test_the_needs_of_a_recipe(qairt):
    said = qairt("doctor", "toy.yaml")
    assert said.code == 0
    assert "HTP compiler" not in said.out, "backend CPU needs none"
    assert "ok       RAM for this recipe: the largest item needs 400 MB, " in said.out
    assert "ok       disk for this recipe: the run writes up to 5 B, " in said.out


def test_a_machine_that_is_too_small(qairt, monkeypatch):
    monkeypatch.setattr("qairt.machine.available_memory", lambda: 1000)
    usage = shutil.disk_usage(".")
    monkeypatch.setattr(shutil, "disk_usage", lambda path: usage._replace(free=2))
    said = qairt("doctor", "toy.yaml")
    assert said.code == 1
    assert (
        "MISSING  RAM for this recipe: the largest item needs 400 MB, 1 kB is free\n"
        "           for: its run\n"
        "           do:  close other programs, or raise num_splits\n"
    ) in said.out
    assert (
        "MISSING  disk for this recipe: the run writes up to 5 B, 2 B is free\n"
        "           for: its run\n"
        "           do:  free some space, or choose another disk with --cache-dir\n"
    ) in said.out


def missing(monkeypatch: pytest.MonkeyPatch, *names: str) -> None:
    """As where these packages were never installed."""
    versions = metadata.version

    def version(name: str) -> str:
        if name in names:
            raise metadata.PackageNotFoundError(name)
        return versions(name)

    monkeypatch.setattr(metadata, "version", version)


def test_missing_packages_say_how_to_install_them(qairt, monkeypatch):
    missing(monkeypatch, "gguf", "nvidia-ml-py")
    said = qairt("doctor", "toy.yaml")
    assert said.code == 1
    assert (
        "MISSING  gguf: not installed\n           for: models in GGUF files\n           do:  pip install gguf\n"
    ) in said.out
    assert "note     nvidia-ml-py: not installed (optional)\n" in said.out


@pytest.mark.parametrize(
    ("name", "enables"),
    [
        ("lm-eval", "mmlu, hellaswag and the other tasks of lm-eval in qairt evaluate"),
        ("datasets", "wikitext and other data sets of the Hugging Face hub in qairt evaluate"),
    ],
)
def test_the_extra_for_evaluation(monkeypatch, name, enables):
    missing(monkeypatch, name)
    (probe,) = (probe for probe in probes.packages() if probe.name == name)
    assert (probe.status, probe.found) == ("warning", "not installed (optional)")
    assert (probe.enables, probe.remedy) == (enables, "pip install 'qairt[eval]'")
    monkeypatch.setattr(metadata, "version", lambda package: "9.9")
    (probe,) = (probe for probe in probes.packages() if probe.name == name)
    assert (probe.status, probe.found, probe.enables, probe.remedy) == ("ok", "9.9", enables, None)


def test_a_missing_runtime_is_a_missing_toolchain(qairt, monkeypatch):
    missing(monkeypatch, "onnxruntime")
    assert qairt("doctor", "toy.yaml").code == 3


def test_a_compiler_crash_is_reported_not_raised(monkeypatch, tmp_path):
    dying = tmp_path / "python"
    dying.write_text("#!/bin/sh\necho 'libQnnHtp.so: cannot open' >&2\nkill -SEGV $$\n")
    dying.chmod(0o755)
    monkeypatch.setattr(sys, "executable", str(dying))
    probe = probes.compiler()
    assert (probe.status, probe.found, probe.toolchain) == (
        "missing",
        "its process failed: libQnnHtp.so: cannot open",
        True,
    )


def test_another_owner_of_the_import_name(monkeypatch, tmp_path):
    assert probes.import_name().status == "ok"
    (tmp_path / "vendor" / "qairt").mkdir(parents=True)
    (tmp_path / "vendor" / "qairt" / "__init__.py").touch()
    monkeypatch.setattr(sys, "path", [*sys.path, str(tmp_path / "vendor")])
    probe = probes.import_name()
    assert probe.status == "warning"
    assert str(tmp_path / "vendor" / "qairt") in probe.found
    assert probe.remedy == "install them in separate virtual environments"
    monkeypatch.setattr(metadata, "packages_distributions", lambda: {"qairt": ["qairt", "qualcomm-qairt"]})
    assert probes.import_name().found.startswith("also the name of qualcomm-qairt, ")
