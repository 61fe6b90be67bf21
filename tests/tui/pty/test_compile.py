"""One real compile of a two-layer model under the screen."""

from __future__ import annotations

import sys

import pytest
from tiny_recipe import write_recipe
from toy_place import statuses
from wait import until

pytestmark = pytest.mark.compiler


def test_a_newcomer_compiles_a_model_and_watches_it(place):
    recipe = write_recipe(place.folder / "tiny")
    cache = place.folder / "cache"
    terminal = place.open(
        "tui", str(recipe), "--cache-dir", str(cache), size=(120, 36), program=[sys.executable, "-m", "qairt"]
    )
    terminal.wait_for("generate_context_binary")
    terminal.send("\r")
    terminal.wait_for(" running ")
    run = place.run()
    until(lambda: list(run.logs.glob("quantize.*.log")) != [], 90)  # the compiler is at work
    latencies = []
    for key in "gG" * 5:  # the selection follows what runs, which is not at the top
        latencies.append(terminal.paint_latency(key))
    assert run.liveness() == "running"
    until(lambda: run.liveness() == "over", 60)
    terminal.wait_for("g Generate")  # what the run made is shown once its end has been read
    assert statuses(run) == ["done"]
    assert sorted(latencies)[len(latencies) // 2] < 0.1
    terminal.send("q")
    assert terminal.wait() == 0
    until(lambda: list(cache.glob("**/*.bin")) != [])
