"""Requests to a run in progress: pause, resume, cancel, retry."""

from __future__ import annotations

from threaded_run import ThreadedRun, four_stages
from wait import settled

from qairt.engine.record.waiting import waits_for


def test_pausing_starts_nothing_and_goes_on(tmp_path):
    run = ThreadedRun(four_stages(tmp_path, sleep=0.3))
    run.until(lambda state: state.count("running") == 1)
    assert run.ask("pause").done
    run.until(lambda state: not state.count("running"))
    before = run.state.count("done")
    settled(run.statuses, quiet=0.8)
    assert (run.state.paused, run.state.count("done"), run.state.count("running")) == (True, before, 0)
    assert "paused" in waits_for(run.state.items["fan", "ar3"], run.state)
    assert run.ask("resume").done
    assert set(run.end().values()) == {"done"}
    assert run.state.status == "done"


def test_a_running_item_is_cancelled_and_the_rest_goes_on(tmp_path):
    run = ThreadedRun(four_stages(tmp_path, sleep=2.0), jobs=3)
    run.until(
        lambda state: state.items.get(("fan", "ar2")) is not None and state.items["fan", "ar2"].status == "running"
    )
    assert run.ask("cancel_item", "fan", "ar2").done
    assert run.end() == {
        "source all": "done", "fan ar1": "done", "fan ar2": "cancelled", "fan ar3": "done",
        "upper ar2": "blocked", "upper ar3": "done", "join all": "blocked",
    }  # fmt: skip
    assert run.state.items["upper", "ar2"].message == "fan ar2 was cancelled"
    assert run.state.status == "interrupted"


def test_a_waiting_item_is_cancelled_and_tried_again(tmp_path):
    run = ThreadedRun(four_stages(tmp_path, sleep=0.8))
    run.until(lambda state: state.count("done") >= 1)
    assert run.ask("cancel_item", "join", "all").done
    run.until(lambda state: state.items["join", "all"].status == "cancelled")
    assert not run.ask("cancel_item", "source", "all").done
    assert run.ask("retry").done
    assert set(run.end().values()) == {"done"}


def test_what_failed_is_tried_again_while_the_rest_goes_on(tmp_path):
    broken = tmp_path / "broken"
    broken.touch()
    run = ThreadedRun(four_stages(tmp_path / "cache", fail_at=2, fail_while=broken, later=2.5), jobs=2)
    run.until(lambda state: state.count("failed") == 1 and state.count("blocked") == 2)
    assert "failed" in run.state.items["join", "all"].message
    broken.unlink()
    assert run.ask("retry").done
    assert set(run.end().values()) == {"done"}
    assert run.state.items["fan", "ar2"].attempt == 2
    assert run.state.items["fan", "ar2"].error is None
    assert run.result is not None
    assert (run.result.status, run.result.failed) == ("done", [])


def test_cancelling_the_run_keeps_what_is_finished(tmp_path):
    run = ThreadedRun(four_stages(tmp_path, sleep=1.5))
    run.until(lambda state: state.items.get(("fan", "ar1")) is not None and state.count("done") >= 1)
    assert run.ask("cancel_run").done
    end = run.end()
    assert run.state.status == "interrupted"
    assert end["source all"] == "done"
    assert end["join all"] == "interrupted"


def test_what_cannot_be_done_is_answered(tmp_path):
    run = ThreadedRun(four_stages(tmp_path, sleep=0.8))
    run.until(lambda state: state.count("running") == 1)
    answers = [run.ask("retry"), run.ask("cancel_item", "fan", "ar9")]
    assert [answer.done for answer in answers] == [False, False]
    assert [answer.message for answer in answers] == ["nothing failed", "fan ar9 is not waiting or running"]
    run.end()
