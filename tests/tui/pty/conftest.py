"""The real program on a real terminal, with toy stages unless a test uses others."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from measured_machine import keep_speed
from toy_place import Place


@pytest.fixture
def place(tmp_path: Path) -> Iterator[Place]:
    """A toy recipe that takes no time."""
    folders = {name: str(tmp_path / name) for name in ("XDG_CONFIG_HOME", "XDG_STATE_HOME", "XDG_CACHE_HOME")}
    keep_speed(tmp_path / "XDG_CONFIG_HOME")
    made = Place(tmp_path, folders | {"PYTHONPATH": os.environ["PYTHONPATH"]})
    made.write()
    yield made
    made.end()
