"""Fixtures of the terminal interface's tests."""

from __future__ import annotations

import pytest


@pytest.fixture
def own_folders(tmp_path, monkeypatch):
    """Settings, state and working directory of this test alone."""
    for name in ("XDG_CONFIG_HOME", "XDG_STATE_HOME"):
        monkeypatch.setenv(name, str(tmp_path / name))
    monkeypatch.chdir(tmp_path)
