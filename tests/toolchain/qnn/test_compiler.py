"""Which of the vendor's compile settings the wheel's compiler takes: what it writes shows it, as it refuses no name."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from zoo import FORMS

from qairt.errors import ToolchainError
from qairt.runtime.parts import PartGraph
from qairt.toolchain.base import BinarySpec, QuantizedGraph
from qairt.toolchain.qnn import compiler
from qairt.toolchain.qnn.compiler import QnnToolchain
from qairt.toolchain.soc import SOCS

pytest.importorskip("onnxruntime_qnn")
pytestmark = pytest.mark.compiler

V75, V81 = SOCS["SM8650"], SOCS["SM8850"]
UNIT = 65_536
"""Bytes in which a binary counts VTCM."""
BY_ADDRESS = 200
"""More bytes than depend on where the compiler's objects lie, which another option moves."""


@pytest.fixture(scope="module")
def part(tmp_path_factory: pytest.TempPathFactory) -> PartGraph:
    return FORMS["MatMul of uint16 and int8"].make(8).part(tmp_path_factory.mktemp("part"), 8)


def compiled(part: PartGraph, folder: Path, spec: BinarySpec) -> bytes:
    folder.mkdir()
    return QnnToolchain().link([QuantizedGraph(part.onnx, part.signature)], folder, spec).binary.read_bytes()


def differing(one: bytes, other: bytes) -> list[tuple[int, int]]:
    return [(a, b) for a, b in zip(one, other, strict=True) if a != b]


def test_vtcm_is_taken(part: PartGraph, tmp_path: Path):
    whole = compiled(part, tmp_path / "whole", BinarySpec("b.bin", V75))
    half = compiled(part, tmp_path / "half", BinarySpec("b.bin", replace(V75, vtcm_mb=4)))
    assert (8 * 2**20 // UNIT, 4 * 2**20 // UNIT) in differing(whole, half)


def test_extended_udma_is_taken_from_v81_on(part: PartGraph, tmp_path: Path):
    plain = compiled(part, tmp_path / "plain", BinarySpec("b.bin", V81))
    wide = compiled(part, tmp_path / "wide", BinarySpec("b.bin", V81, extended_udma=True))
    assert len(wide) != len(plain) or len(differing(plain, wide)) > BY_ADDRESS
    with pytest.raises(ToolchainError, match="Failed to compose Qnn graph"):
        compiled(part, tmp_path / "older", BinarySpec("b.bin", V75, extended_udma=True))


@pytest.mark.parametrize("name", ["hvx_threads", "native_kv"])
def test_the_others_are_not(name: str, part: PartGraph, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """When this fails, the compiler has learned it: give it a setting of generate_context_binary."""
    plain = compiled(part, tmp_path / "plain", BinarySpec("b.bin", V75))
    options = compiler.compile_options
    monkeypatch.setattr(compiler, "compile_options", lambda *of, **how: options(*of, **how) | {name: "1"})
    other = compiled(part, tmp_path / "other", BinarySpec("b.bin", V75))
    assert len(differing(plain, other)) < BY_ADDRESS
