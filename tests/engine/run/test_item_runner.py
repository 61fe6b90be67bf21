from __future__ import annotations

from dataclasses import replace

from filelock import FileLock
from threaded_run import ThreadedRun, four_stages

from qairt.engine.record.history_file import HistoryFile
from qairt.engine.run.capacity import MachineCapacity
from qairt.engine.run.options import RunOptions


def test_an_item_that_another_run_makes_is_shown_as_shared(tmp_path):
    pipeline = four_stages(tmp_path)
    key = next(item.key for item in pipeline.plan().items if item.name == "fan ar1")
    locks = pipeline.state_folder / "locks"
    locks.mkdir(parents=True)
    with FileLock(locks / f"{key[:16]}.lock"):
        run = ThreadedRun(pipeline, jobs=2)
        run.until(lambda state: state.count("shared") == 1)
        assert run.state.items["fan", "ar1"].status == "shared"
    assert set(run.end().values()) == {"done"}


def test_what_a_worker_made_is_recorded_as_of_its_machine(tmp_path, monkeypatch):
    find = MachineCapacity.find

    def elsewhere(self, *arguments, **words):
        place = find(self, *arguments, **words)
        return place and replace(place, host="box7")

    monkeypatch.setattr(MachineCapacity, "find", elsewhere)
    pipeline = four_stages(tmp_path)
    assert pipeline.construct(RunOptions(executor="inline")).status == "done"
    costs = HistoryFile(pipeline.state_folder).read("cost")
    assert {cost["host"] for cost in costs} == {"box7"}  # estimates go by it
    assert {entry.made_by["host"] for entry in pipeline.cache.entries()} == {"box7"}
