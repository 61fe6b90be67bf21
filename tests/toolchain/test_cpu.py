"""What `backend: CPU` needs."""

from __future__ import annotations

from importlib import metadata

import pytest

from qairt.errors import ToolchainNotAvailable
from qairt.toolchain import cpu


def test_it_needs_onnxruntime_alone(monkeypatch):
    assert cpu.version() == f"onnxruntime {metadata.version('onnxruntime')}"

    def missing(package: str) -> str:
        raise metadata.PackageNotFoundError(package)

    monkeypatch.setattr(metadata, "version", missing)
    with pytest.raises(ToolchainNotAvailable, match=r"^backend: CPU: onnxruntime is not installed\n  pip install"):
        cpu.version()
