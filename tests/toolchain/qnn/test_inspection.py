"""Reading artifacts that are missing or damaged."""

from __future__ import annotations

import pytest

from qairt.errors import ToolchainError
from qairt.toolchain.qnn.inspection import inspect


def test_a_missing_file_is_an_error(tmp_path):
    with pytest.raises(ToolchainError, match=r"gone\.dlc: the file does not exist"):
        inspect(tmp_path / "gone.dlc")


@pytest.mark.parametrize("content", [b"", b"PK\x03\x04 not really", b"x" * 1000], ids=["empty", "torn", "noise"])
def test_a_damaged_dlc_is_an_error(tmp_path, content):
    (tmp_path / "a.dlc").write_bytes(content)
    with pytest.raises(ToolchainError, match=r"^a\.dlc: it is not a DLC"):
        inspect(tmp_path / "a.dlc")


@pytest.mark.compiler
@pytest.mark.parametrize(
    ("content", "what"),
    [(b"", r"it is empty\n"), (b"x" * 1000, r"it is not a context binary \(QNN error \d+\)\n")],
    ids=["empty", "noise"],
)
def test_a_damaged_binary_is_an_error_and_crashes_nothing(tmp_path, content, what):
    (tmp_path / "a.serialized.bin").write_bytes(content)
    with pytest.raises(ToolchainError, match=r"^a\.serialized\.bin: it cannot be read as a context binary: " + what):
        inspect(tmp_path / "a.serialized.bin")
