"""A store between the machines, and what a run without them makes."""

from __future__ import annotations

from pathlib import Path

import pytest
from dask_cluster import open_toy, results

from qairt.engine.run.options import RunOptions


@pytest.fixture
def store(tmp_path, monkeypatch) -> Path:
    """The folder of an empty store, which this test's runs may write."""
    folder = tmp_path / "store"
    folder.mkdir()
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    monkeypatch.setenv("QAIRT_STORE", f'{{url: "file:{folder}", mode: read-write}}')
    return folder


@pytest.fixture(scope="session")
def expected(tmp_path_factory) -> dict[str, str]:
    """What a run without a cluster makes."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("QAIRT_STORE", "off")
        pipeline = open_toy(tmp_path_factory.mktemp("local"))
        assert pipeline.construct(RunOptions(jobs=2, memory=10**9)).result.status == "done"
        return results(pipeline)
