"""Fixtures of the terminal interface's tests."""

from __future__ import annotations

import pytest
from measured_machine import keep_speed


@pytest.fixture
def own_folders(tmp_path, monkeypatch):
    """Settings, state and working directory of this test alone."""
    for name in ("XDG_CONFIG_HOME", "XDG_STATE_HOME"):
        monkeypatch.setenv(name, str(tmp_path / name))
    keep_speed(tmp_path / "XDG_CONFIG_HOME")
    monkeypatch.chdir(tmp_path)
