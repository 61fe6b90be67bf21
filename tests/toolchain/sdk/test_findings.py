"""What an SDK lacks is said before work starts, with what to do."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
from sdk_stand_in import install, let_fail

from qairt.errors import ToolchainNotAvailable
from qairt.toolchain.sdk.findings import converter_fault, findings, require
from qairt.toolchain.sdk.install import CONVERTER, PLATFORM
from qairt.toolchain.sdk.open import open_sdk


@pytest.fixture(autouse=True)
def python(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """One of the version that the vendor's libraries are built for."""
    answer(tmp_path / "python", "3, 10, 12")
    monkeypatch.setenv("QAIRT_SDK_PYTHON", str(tmp_path / "python"))


def answer(path: Path, version: str) -> None:
    path.write_text(f"#!/bin/sh\necho '[[{version}], \"\"]'\n")
    path.chmod(0o755)


def told(root: Path) -> list[tuple[str, bool]]:
    return [(finding.text, finding.status == "error") for finding in findings(open_sdk(root))]


def test_one_that_is_whole_lacks_nothing(tmp_path: Path):
    root = install(tmp_path / "sdk")
    assert told(root) == []
    assert require(open_sdk(root)) == []


@pytest.mark.parametrize("version", ["2.31.0.250130", "2.51.0.260929181845"])
def test_known_versions(tmp_path: Path, version: str):
    assert told(install(tmp_path / "sdk", version=version)) == []


def test_an_older_version_is_refused_and_a_newer_one_tried(tmp_path: Path):
    old, new = install(tmp_path / "a", version="2.28.0.241029"), install(tmp_path / "b", version="2.60.0.1")
    assert told(old) == [("QAIRT SDK 2.28.0.241029 is too old: 2.31 to 2.51 are supported", True)]
    with pytest.raises(ToolchainNotAvailable, match=r"^sdk_root: QAIRT SDK 2\.28\.0\.241029 is too old") as caught:
        require(open_sdk(old))
    assert caught.value.exit_code == 3
    what = "QAIRT SDK 2.60.0.1 is newer than the supported versions: 2.31 to 2.51 are supported"
    assert told(new) == [(what, False)]
    assert [finding.text for finding in require(open_sdk(new))] == [what]


def test_each_tool_and_library_that_is_missing_is_named(tmp_path: Path):
    root = install(tmp_path / "sdk")
    tools, libraries = root / "bin" / PLATFORM, root / "lib" / PLATFORM
    (tools / "qairt-quantizer").chmod(0o644)
    (tools / "qnn-context-binary-generator").unlink()
    (libraries / "libQnnModelDlc.so").unlink()
    assert told(root) == [
        (f"qairt-quantizer is not executable (in {tools})", True),
        (f"the SDK lacks qnn-context-binary-generator (in {tools})", True),
        (f"the SDK lacks libQnnModelDlc.so (in {libraries})", True),
    ]
    with pytest.raises(ToolchainNotAvailable) as caught:
        require(open_sdk(root))
    assert caught.value.what.endswith("(and 2 more: see qairt doctor)")
    assert caught.value.remedy == f"chmod +x {tools}/*"


def test_a_python_that_is_too_old_is_refused_and_a_newer_one_tried(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    root = install(tmp_path / "sdk")
    python = tmp_path / "python"
    answer(python, "3, 8, 10")
    assert told(root) == [
        (f"the SDK's converter would run on Python 3.8.10 ({python}), which is too old: it needs 3.10", True)
    ]
    answer(python, "3, 12, 3")
    assert told(root) == [
        (f"the SDK's converter runs on Python 3.12.3 ({python}); its libraries are built for 3.10", False)
    ]
    monkeypatch.setenv("QAIRT_SDK_PYTHON", str(tmp_path / "gone"))
    assert told(root) == [("there is no Python to run the SDK's converter", True)]
    for tool in ("qairt-converter", "qairt-quantizer"):
        (root / "bin" / PLATFORM / tool).write_text("#!/bin/sh\n")
    assert told(root) == [], "programs of their own need none"


def test_a_converter_that_does_not_start_is_explained(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("QAIRT_SDK_PYTHON", sys.executable)
    sdk = open_sdk(install(tmp_path / "sdk"))
    let_fail(sdk.root, CONVERTER, "nothing")
    assert converter_fault(sdk) is None
    tool = sdk.tool(CONVERTER)
    tool.write_text("#!/bin/sh\necho 'ImportError: libpython3.10.so.1.0: cannot open shared object file' >&2; exit 1\n")
    found = converter_fault(sdk)
    assert found is not None
    assert found.text.startswith("qairt-converter failed: the SDK's converter does not run on this Python")
    assert "QAIRT_SDK_PYTHON" in str(found.remedy)
    tool.write_text("#!/bin/sh\nkill -SEGV $$\n")
    found = converter_fault(sdk)
    assert found is not None
    assert found.text == "qairt-converter was killed by SIGSEGV"
    tool.write_bytes(b"\x7fELF of another machine")
    found = converter_fault(sdk)
    assert found is not None
    assert found.text.startswith("qairt-converter does not answer: [Errno 8] Exec format error")
