"""The compiler answers."""

from __future__ import annotations

from importlib import metadata

import pytest

from qairt.toolchain.qnn.handshake import handshake


@pytest.mark.compiler
def test_the_handshake_reaches_the_compiler():
    pytest.importorskip("onnxruntime_qnn")
    found = handshake()
    assert found["onnxruntime-qnn"] == metadata.version("onnxruntime-qnn")
    assert found["qnn_sdk"].startswith("2.")
    assert found["fixed_addresses"].split(":")[0] in ("yes", "no")
