"""The speed of the machine, and what it does to estimates."""

from __future__ import annotations

import json
import socket

import pytest
import toy_stages as toy
from measured_machine import keep_speed

from qairt.engine.pipeline import Pipeline
from qairt.engine.plan.machine_speed import MachineSpeed, kept_speed, measure_if_needed, measured_speed
from qairt.engine.run.options import RunOptions
from qairt.engine.task import Estimate


@pytest.fixture
def home(tmp_path, monkeypatch):
    """An empty folder for the user's settings."""
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    return tmp_path / "config"


def pipeline(folder) -> Pipeline:
    return Pipeline([toy.Source(toy.SourceConfig()), toy.Fan(toy.FanConfig())], folder)


def test_what_is_measured_is_positive_and_repeats():
    first, second = measured_speed(0.05), measured_speed(0.05)
    assert first.one_core > 0
    assert first.all_cores > 0
    assert second.one_core == pytest.approx(first.one_core, rel=0.5)


def test_a_slow_machine_takes_longer():
    speed = MachineSpeed(one_core=0.5, all_cores=4.0)
    assert speed.seconds(Estimate(seconds=10)) == 20
    assert speed.seconds(Estimate(seconds=10, threads=64)) == 2.5


def test_the_first_run_measures_once_and_keeps_it(tmp_path, home):
    first = pipeline(tmp_path / "cache")
    assert kept_speed() is None
    first.construct(RunOptions(executor="inline"))
    kept = json.loads((home / "qairt" / "machine-speed.json").read_text())
    assert list(kept) == [socket.gethostname()]
    assert kept_speed() == MachineSpeed.model_validate(kept[socket.gethostname()])
    assert not measure_if_needed(pipeline(tmp_path / "other").plan())


def test_a_plan_whose_items_have_run_needs_no_measurement(tmp_path, home):
    keep_speed(home)
    done = pipeline(tmp_path / "cache").construct(RunOptions(executor="inline"))
    (home / "qairt" / "machine-speed.json").unlink()
    assert not measure_if_needed(done.plan())
    assert kept_speed() is None


def test_estimates_of_a_first_run_follow_the_speed_and_history_replaces_it(tmp_path, home):
    def seconds(folder: str) -> list[float]:
        return [item.seconds for item in pipeline(tmp_path / folder).plan().items]

    keep_speed(home, one_core=0.25)
    assert seconds("cache") == pytest.approx([0.4, 0.4, 0.4])
    pipeline(tmp_path / "cache").construct(RunOptions(executor="inline"))
    before = seconds("cache")
    keep_speed(home, one_core=0.01)
    assert seconds("cache") == before


@pytest.mark.parametrize("text", ["", "[1]", '{"box": 3}'])
def test_a_damaged_file_is_as_none(home, text):
    keep_speed(home).write_text(text)
    assert kept_speed() is None
