from __future__ import annotations

from filelock import FileLock
from threaded_run import ThreadedRun, four_stages


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
