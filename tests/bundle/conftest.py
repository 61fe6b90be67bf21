"""One tiny model, and its binaries, for all tests of bundles."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from tiny_bundle import TinyModel, composed, make_tiny

from qairt.bundle.contents import Contents

GENIEX_ID = "llama_v3_tiny"


@pytest.fixture(scope="session")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> TinyModel:
    return make_tiny(tmp_path_factory.mktemp("tiny"))


@pytest.fixture(scope="session")
def shared(tiny: TinyModel) -> Contents:
    """Two graphs a binary, as a phone gets them."""
    pytest.importorskip("onnxruntime_qnn")
    return tiny.binaries(ars=(1, 8), name="shared")


@pytest.fixture(scope="session")
def single(tiny: TinyModel) -> Contents:
    """One graph a binary, which Genie can load on this machine."""
    pytest.importorskip("onnxruntime_qnn")
    return tiny.binaries(ars=(1,), name="single")


@pytest.fixture
def genie_bundle(shared: Contents, tmp_path: Path) -> Path:
    return composed(shared, tmp_path / "genie", "genie")


@pytest.fixture
def geniex_bundle(shared: Contents, tmp_path: Path) -> Path:
    return composed(replace(shared, geniex_id=GENIEX_ID), tmp_path / "geniex", "geniex")


@pytest.fixture
def ort_bundle(shared: Contents, tmp_path: Path) -> Path:
    return composed(shared, tmp_path / "ort", "ort")


@pytest.fixture
def one_graph_bundle(single: Contents, tmp_path: Path) -> Path:
    return composed(single, tmp_path / "one", "genie")
