"""Model packages, as ONNX Runtime's own reader sees them."""

from __future__ import annotations

from pathlib import Path

import pytest
from ort_package import read_package, supported

from qairt.bundle.model_package import packaged_bundle, variant_folder, write_package_files


@pytest.mark.parametrize(("on_npu", "variant", "provider"), [(True, "npu", "QNN"), (False, "cpu", "CPU")])
def test_a_package_holds_one_variant(tmp_path: Path, on_npu: bool, variant: str, provider: str):
    folder = variant_folder(tmp_path, on_npu=on_npu)
    folder.mkdir(parents=True)
    write_package_files(tmp_path, "tiny", on_npu=on_npu)
    assert packaged_bundle(tmp_path) == folder
    assert folder.name == variant
    if supported():
        expected = {"components": {"model": {variant: f"{provider}ExecutionProvider"}}}
        assert read_package(tmp_path) == expected


@pytest.mark.parametrize("content", [None, "{", "[]", "{}", '{"components": {"a": "a", "b": "b"}}'])
def test_other_folders_are_no_package(tmp_path: Path, content: str | None):
    if content is not None:
        (tmp_path / "manifest.json").write_text(content)
    assert packaged_bundle(tmp_path) is None
