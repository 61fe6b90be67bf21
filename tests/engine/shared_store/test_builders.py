"""Who built a result, and whose results are used."""

from __future__ import annotations

import re
from importlib import metadata

import pytest

from qairt.engine.shared_store.builders import is_allowed, made_here


def test_host_versions_and_digests_of_tools():
    said = made_here(["numpy"], "onnxruntime 1.31.1, nothing-like-this 2.7.0")
    assert said.keys() == {"host", "system", "python", "qairt", "tools", "numpy", "onnxruntime"}
    assert said["tools"] == "onnxruntime 1.31.1, nothing-like-this 2.7.0"
    assert re.fullmatch(re.escape(metadata.version("numpy")) + " sha256:[0-9a-f]{64}", said["numpy"])
    assert "tools" not in made_here([], "")


@pytest.mark.parametrize(
    ("host", "allowed", "expected"),
    [
        ("box9", (), True),
        ("box9", ("box7", "ci-*"), False),
        ("ci-12", ("box7", "ci-*"), True),
        ("BOX7", ("box7",), False),
        ("", ("*",), True),
        ("", ("box7",), False),
    ],
)
def test_hosts(host, allowed, expected):
    assert is_allowed({"host": host}, allowed) is expected
