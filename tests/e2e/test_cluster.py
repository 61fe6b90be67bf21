"""A two-layer model compiled on two workers, which share nothing with the run but a store."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml
from dask_cluster import Watched, machines, options_for, results
from tiny_recipe import write_recipe

from qairt.engine.record import events as ev
from qairt.engine.run.options import RunOptions
from qairt.llm import LLMPipeline
from qairt.machine import this_host

pytestmark = pytest.mark.compiler

_HERE = {"model_loading", "quantization", "export", "split_model"}
"""They read the model's folder or the calibration text, which are the user's."""


def test_workers_make_the_same_bytes(tmp_path, monkeypatch):
    recipe = write_recipe(tmp_path / "recipe")
    content = yaml.safe_load(recipe.read_text())
    content["stages"]["split_model"]["num_splits"] = 2
    recipe.write_text(yaml.safe_dump(content, sort_keys=False))
    (store := tmp_path / "store").mkdir()
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    monkeypatch.setenv("QAIRT_STORE", "off")
    here = LLMPipeline.from_recipe(recipe, cache_dir=tmp_path / "here")
    assert here.construct(RunOptions()).status == "done"

    monkeypatch.setenv("QAIRT_STORE", f'{{url: "file:{store}", mode: read-write}}')
    there = LLMPipeline.from_recipe(recipe, cache_dir=tmp_path / "there")
    watched = Watched(there)
    with machines(tmp_path / "machines") as cluster:
        result = there.construct(options_for(cluster)).result
        assert result.status == "done", [str(failed) for failed in result.failed]
        made = {event.stage: event.host for event in watched.of(ev.ItemStarted)}
        assert {stage for stage, host in made.items() if not host} == _HERE
        assert set(made.values()) == {"", this_host()}
        folders = [Path(cluster.folder, name, "dask-scratch-space/qairt/blobs") for name in cluster.workers]
        assert all(any(folder.iterdir()) for folder in folders)  # both had work
    ours, theirs = results(here), results(there)
    assert ours.keys() == theirs.keys()
    differ = {name for name in ours if ours[name] != theirs[name]}
    # The compiler lays out a context binary in one of several ways, also in two folders of one machine.
    assert not {name for name in differ if not name.endswith((".serialized.bin", "/SHA256SUMS"))}
