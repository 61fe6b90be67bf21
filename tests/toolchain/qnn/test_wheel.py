"""What the wheel's version and absence look like to a user."""

from __future__ import annotations

import subprocess
import sys
from importlib import metadata

import pytest

from qairt.errors import ToolchainNotAvailable
from qairt.toolchain.qnn import wheel


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
