"""Finding an SDK, reading its version, and the Python that its tools run with."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
from sdk_stand_in import VERSION, install

from qairt.errors import ToolchainNotAvailable
from qairt.toolchain.sdk import process as sdk_process
from qairt.toolchain.sdk import sdk_python
from qairt.toolchain.sdk.install import CONVERTER, PLATFORM, Sdk, configured_root
from qairt.toolchain.sdk.open import open_sdk


@pytest.fixture(autouse=True)
def alone(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.delenv("QAIRT_SDK_ROOT", raising=False)
    monkeypatch.setenv("QAIRT_SDK_PYTHON", sys.executable)


def interpreter(path: Path, version: str) -> Path:
    """Something that answers as a Python of `version` does."""
    path.write_text(f"#!/bin/sh\necho '[[{version}], \"/opt/python/lib\"]'\n")
    path.chmod(0o755)
    return path


def test_the_setting_goes_before_the_variable(monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    assert configured_root(None) is None
    monkeypatch.setenv("QAIRT_SDK_ROOT", str(tmp_path / "variable"))
    assert configured_root(None) == tmp_path / "variable"
    assert configured_root(tmp_path / "setting") == tmp_path / "setting"


def test_no_sdk_says_what_to_do(tmp_path: Path):
    with pytest.raises(ToolchainNotAvailable) as caught:
        open_sdk(None)
    assert caught.value.what == "no QAIRT SDK is configured: neither sdk_root nor $QAIRT_SDK_ROOT is set"
    assert "toolchain: qnn" in str(caught.value.remedy)
    with pytest.raises(ToolchainNotAvailable, match=r"the folder .*gone does not exist"):
        open_sdk(tmp_path / "gone")


def test_the_folder_above_names_the_one_that_is_meant(tmp_path: Path):
    install(tmp_path / "qairt" / "2.43.0.260128")
    with pytest.raises(ToolchainNotAvailable) as caught:
        open_sdk(tmp_path / "qairt")
    assert caught.value.what == f"{tmp_path}/qairt is not a QAIRT SDK for x86-64 Linux: it has no bin/{PLATFORM}"
    assert caught.value.remedy == f"did you mean {tmp_path}/qairt/2.43.0.260128?"


@pytest.mark.parametrize(
    ("text", "version"),
    [
        (f"version: {VERSION}\n", VERSION),
        ('name: qairt\nversion: "2.45.40.260406"\n', "2.45.40.260406"),
        ("product:\n  version: v2.32.6.250402\n", "2.32.6.250402"),
    ],
)
def test_the_version_is_what_sdk_yaml_says(tmp_path: Path, text: str, version: str):
    root = install(tmp_path / "2.40.0.251030")
    (root / "sdk.yaml").write_text(text)
    assert open_sdk(root).version == version
    assert open_sdk(root).describe() == f"QAIRT SDK {version}"


def test_else_the_folders_name_else_what_the_converter_says(tmp_path: Path):
    named = install(tmp_path / "qairt-2.40.0.251030")
    (named / "sdk.yaml").unlink()
    assert open_sdk(named).version == "2.40.0.251030"
    link = tmp_path / "current"
    link.symlink_to(named)
    assert open_sdk(link).version == "2.40.0.251030"
    other = install(tmp_path / "sdk", version="2.41.0.251128")
    hidden = other / "sdk.yaml.kept"
    (other / "sdk.yaml").rename(hidden)
    header = other / "include" / "QNN" / "QnnSdkBuildId.h"
    header.parent.mkdir(parents=True)
    header.write_text('#define QNN_SDK_BUILD_ID "v2.41.0.251127_180112"\n')
    assert open_sdk(other).version == "2.41.0.251127"
    header.unlink()
    tool = other / "bin" / PLATFORM / CONVERTER
    tool.write_text("#!/bin/sh\necho 'QAIRT converter 2.41.0.251128'\n")
    assert open_sdk(other).version == "2.41.0.251128"
    tool.write_text("#!/bin/sh\necho 2.41.0.251128; exit 1\n")
    assert open_sdk(other).version == ""
    assert open_sdk(other).describe() == "QAIRT SDK of unknown version"


def test_a_script_runs_with_the_sdks_python_and_a_program_as_it_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    sdk = open_sdk(install(tmp_path / "sdk"))
    python = interpreter(tmp_path / "python3.10", "3, 10, 12")
    monkeypatch.setenv("QAIRT_SDK_PYTHON", str(python))
    monkeypatch.setenv("LD_LIBRARY_PATH", "/opt/libc++")
    monkeypatch.setenv("PYTHONPATH", "/ours")
    command, environment = sdk_process.tool_command(sdk, CONVERTER, ["--version"], home=tmp_path, threads=3)
    assert command == [str(python), str(sdk.tool(CONVERTER)), "--version"]
    assert environment == {
        "QAIRT_SDK_ROOT": str(sdk.root),
        "QNN_SDK_ROOT": str(sdk.root),
        "PATH": f"{sdk.tools}:{tmp_path}:/usr/local/bin:/usr/bin:/bin",
        "LD_LIBRARY_PATH": f"{sdk.libraries}:/opt/python/lib:/opt/libc++",
        "PYTHONPATH": f"{sdk.root}/lib/python",
        "PYTHONUNBUFFERED": "1",
        "PYTHONDONTWRITEBYTECODE": "1",
        "LC_ALL": "C.UTF-8",
        "OMP_NUM_THREADS": "3",
        "HOME": str(tmp_path),
        "TMPDIR": str(tmp_path),
    }
    command, environment = sdk_process.tool_command(sdk, "qnn-context-binary-generator", ["a"], home=tmp_path)
    assert command == [str(sdk.tool("qnn-context-binary-generator")), "a"]
    assert environment["PATH"] == f"{sdk.tools}:/usr/local/bin:/usr/bin:/bin"


def test_the_python_is_the_variables_else_3_10_else_any(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    found = sdk_python.find_python()
    assert found is not None
    assert (found.path, found.version) == (Path(sys.executable), tuple(sys.version_info[:3]))
    monkeypatch.delenv("QAIRT_SDK_PYTHON")
    monkeypatch.setenv("PATH", str(tmp_path), prepend=":")
    interpreter(tmp_path / "python3", "3, 12, 1")
    broken = tmp_path / "python3.10"
    broken.write_text("#!/bin/sh\necho 'pyenv: version 3.10 is not installed' >&2; exit 127\n")
    broken.chmod(0o755)
    found = sdk_python.find_python()
    assert found is not None
    assert found.version == (3, 12, 1)
    interpreter(broken, "3, 10, 14")
    found = sdk_python.find_python()
    assert found is not None
    assert found.describe() == f"Python 3.10.14 ({broken})"
    monkeypatch.setenv("QAIRT_SDK_PYTHON", str(tmp_path / "gone"))
    assert sdk_python.find_python() is None
    with pytest.raises(ToolchainNotAvailable, match="there is no Python to run qairt-converter"):
        sdk_process.tool_command(Sdk(install(tmp_path / "sdk"), VERSION), CONVERTER, [], home=tmp_path)
