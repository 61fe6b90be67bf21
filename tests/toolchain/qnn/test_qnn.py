"""The toolchain as a user meets it: what it needs, and what it says when that is missing."""

from __future__ import annotations

import subprocess
import sys
from importlib import metadata

import pytest

from qairt.errors import ToolchainError, ToolchainNotAvailable
from qairt.toolchain import cpu
from qairt.toolchain.qnn import qnn, wheel


@pytest.fixture
def installed(monkeypatch):
    """Make packages look installed in some version; None for missing."""

    def pretend(**versions: str | None) -> None:
        real = metadata.version

        def version(package: str) -> str:
            wanted = versions.get(package.replace("-", "_"), real(package))
            if wanted is None:
                raise metadata.PackageNotFoundError(package)
            return wanted

        monkeypatch.setattr(metadata, "version", version)

    return pretend


def test_the_version_names_both_packages_and_imports_neither():
    code = (
        "import sys; from qairt.toolchain.qnn import wheel; wheel.require(); print(wheel.version());"
        "sys.exit(any(name in sys.modules for name in ('onnxruntime', 'onnx', 'onnx_ir', 'torch', 'numpy')))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == (
        f"onnxruntime {metadata.version('onnxruntime')}, onnxruntime-qnn {metadata.version('onnxruntime-qnn')}\n"
    )


def test_a_missing_wheel_says_how_to_install_it(installed):
    installed(onnxruntime_qnn=None)
    for call in (wheel.require, wheel.version):
        with pytest.raises(ToolchainNotAvailable) as caught:
            call()
        assert str(caught.value) == (
            "backend: HTP: onnxruntime-qnn is not installed\n"
            "  pip install onnxruntime-qnn==2.7.0 (x86-64 Linux, Python 3.11 or newer)"
        )


def test_an_old_wheel_is_refused_and_a_newer_one_is_tried(installed):
    installed(onnxruntime_qnn="2.6.1")
    with pytest.raises(ToolchainNotAvailable) as caught:
        wheel.require()
    assert str(caught.value) == (
        "backend: HTP: onnxruntime-qnn 2.6.1 is too old, 2.7.0 is needed\n"
        "  pip install onnxruntime-qnn==2.7.0 (x86-64 Linux, Python 3.11 or newer)"
    )
    for newer in ("2.7.0", "2.10.0", "3.0.0rc1"):
        installed(onnxruntime_qnn=newer)
        wheel.require()


def test_the_cpu_toolchain_needs_onnxruntime_alone(installed):
    installed(onnxruntime_qnn=None)
    cpu.require()
    installed(onnxruntime=None)
    with pytest.raises(ToolchainNotAvailable, match=r"^backend: CPU: onnxruntime is not installed\n  pip install"):
        cpu.require()


def test_a_file_that_is_not_there_is_told(tmp_path):
    with pytest.raises(ToolchainError, match=r"gone\.dlc: the file does not exist"):
        qnn.inspect(tmp_path / "gone.dlc")


@pytest.mark.parametrize("content", [b"", b"PK\x03\x04 not really", b"x" * 1000], ids=["empty", "torn", "noise"])
def test_a_damaged_dlc_is_told(tmp_path, content):
    (tmp_path / "a.dlc").write_bytes(content)
    with pytest.raises(ToolchainError, match=r"^a\.dlc: it is not a DLC"):
        qnn.inspect(tmp_path / "a.dlc")


@pytest.mark.compiler
@pytest.mark.parametrize("content", [b"", b"x" * 1000], ids=["empty", "noise"])
def test_a_damaged_binary_is_told_and_ends_nothing(tmp_path, content):
    (tmp_path / "a.serialized.bin").write_bytes(content)
    with pytest.raises(ToolchainError, match=r"^a\.serialized\.bin: it cannot be read as a context binary: "):
        qnn.inspect(tmp_path / "a.serialized.bin")


@pytest.mark.compiler
def test_the_handshake_reaches_the_compiler():
    pytest.importorskip("onnxruntime_qnn")
    found = qnn.handshake()
    assert found["onnxruntime-qnn"] == metadata.version("onnxruntime-qnn")
    assert found["qnn_sdk"].startswith("2.")
    assert found["fixed_addresses"].split(":")[0] in ("yes", "no")
