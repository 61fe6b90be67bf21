"""Summaries and comparisons of recorded runs: good, failing, killed, torn, large, newer."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest
import recorded_runs as recorded
from toy_stages import Fan, FanConfig, Source, SourceConfig

from qairt import Pipeline, RunOptions
from qairt.engine.record import summary as run_summary
from qairt.engine.record.folder import RunFolder
from qairt.engine.record.runs import compare, delete_run, find_folder, run_summaries
from qairt.engine.record.state import RunState
from qairt.engine.record.summary import RunSummary, read_state, read_summary, write_summary
from qairt.errors import CacheError

CACHED = ("convert ar1-split1", "quantize ar1-split1")


def kept(folder: RunFolder) -> RunSummary:
    return RunSummary.model_validate_json((folder.path / "summary.json").read_bytes())


def test_a_good_run(tmp_path):
    folder = recorded.record(tmp_path, "0001", recorded.good(cached=CACHED))
    summary = read_summary(folder)
    assert (summary.id, summary.state, summary.recipe) == ("0001", "done", "/recipes/tiny.yaml")
    assert (summary.started, summary.seconds) == (recorded.BEGAN, 20.0)
    assert (summary.host, summary.pid) == ("box7", 41231)
    assert (summary.items, summary.made, summary.counts) == (4, 4, {"cached": 2, "done": 2})
    assert summary.cached_share == 0.5
    assert summary.peak_ram == 3 * 10**9
    assert summary.bytes == 2 * 1000 + 2 * 5000
    assert (summary.failed, summary.failure, summary.metrics) == ((), "", {})
    assert [(stage.stage, stage.items, stage.cached, stage.seconds) for stage in summary.stages] == [
        ("convert", 2, 1, 10.0),
        ("quantize", 2, 1, 10.0),
    ]
    assert kept(folder) == summary


def test_a_failing_run(tmp_path):
    summary = read_summary(recorded.record(tmp_path, "0001", recorded.failing()))
    assert (summary.state, summary.seconds, summary.made) == ("failed", 21.0, 2)
    assert summary.failed == ("convert ar1-split2",)
    assert summary.failure == "it was killed: out of memory"
    assert summary.counts == {"done": 2, "failed": 1, "blocked": 1}


def test_a_killed_run_is_interrupted_at_once(tmp_path):
    folder = recorded.record(tmp_path, "0001", [])
    folder.events.write_text("".join(map(recorded.line, recorded.half())))
    with folder.held("/recipes/tiny.yaml", (), detached=False):
        live = read_summary(folder)
        assert (live.state, live.seconds) == ("running", 10.0)
        assert live.counts == {"done": 1, "running": 1, "ready": 1, "waiting": 1}
        assert not (folder.path / "summary.json").exists()
    summary = read_summary(folder)
    assert (summary.state, summary.seconds, summary.made) == ("interrupted", 10.0, 1)
    assert summary.counts == {"done": 1, "interrupted": 3}
    assert kept(folder) == summary


def test_a_torn_last_line(tmp_path):
    torn = recorded.line(recorded.closing("done", recorded.BEGAN + 30))[:50]
    folder = recorded.record(tmp_path, "0001", recorded.half(), tail=torn)
    assert read_summary(folder).state == "interrupted"
    assert read_summary(folder).made == 1


def test_90_graphs(tmp_path):
    summary = read_summary(recorded.record(tmp_path, "0001", recorded.many()))
    assert (summary.state, summary.items, summary.made, summary.seconds) == ("done", 90, 90, 90.0)


def test_a_newer_versions_records(tmp_path):
    newer = [{"v": 2, "type": "item_napped", "time": 1.0}, {"v": 2, "type": "run_finished", "status": "postponed"}]
    folder = recorded.record(tmp_path, "0001", [*recorded.half(), *newer])
    summary = read_summary(folder)
    assert (summary.state, summary.made) == ("unknown", 1)
    assert not (folder.path / "summary.json").exists()


def test_what_a_newer_versions_summary_adds_is_passed_over(tmp_path):
    folder = recorded.record(tmp_path, "0001", recorded.good())
    summary = read_summary(folder)
    folder.write("summary.json", summary.model_dump() | {"colour": "blue", "peak_ram": 7})
    assert read_summary(folder).peak_ram == 7


def test_folders_of_which_little_is_left(tmp_path):
    empty = RunFolder(tmp_path / "runs" / "0001")
    empty.path.mkdir(parents=True)
    damaged = recorded.record(tmp_path, "0002", [])
    damaged.events.write_bytes(b"\xff\x00{]\n" * 3)
    (damaged.path / "summary.json").write_text("{")
    first, second = reversed(run_summaries(tmp_path))
    assert (first.id, first.state, first.recipe, first.items, first.cached_share) == (
        "0001",
        "interrupted",
        "",
        0,
        None,
    )
    assert (second.id, second.state, second.recipe) == ("0002", "interrupted", "/recipes/tiny.yaml")
    assert second.started is not None  # from host.json
    assert not (empty.path / "summary.json").exists()  # it may be about to start


def test_a_run_on_another_machine_without_a_heartbeat(tmp_path):
    folder = recorded.record(tmp_path, "0001", recorded.half())
    host = json.loads((folder.path / "host.json").read_text()) | {"host": "elsewhere"}
    (folder.path / "host.json").write_text(json.dumps(host))
    assert read_summary(folder).state == "running"
    os.utime(folder.events, (1.0, 1.0))
    assert read_summary(folder).state == "unknown"
    with pytest.raises(CacheError, match="run 0001 may still be in progress on elsewhere"):
        delete_run(tmp_path, "0001")


def test_a_kept_summary_is_not_made_again(tmp_path, monkeypatch):
    folder = recorded.record(tmp_path, "0001", recorded.good())
    first = read_summary(folder)

    def never(*_: object) -> RunState:
        raise AssertionError("the events were read again")

    with monkeypatch.context() as patch:
        patch.setattr(run_summary, "read_state", never)
        assert read_summary(folder) == first
    with folder.events.open("a") as file:
        file.write(recorded.line(recorded.closing("failed", recorded.BEGAN + 60)))
    assert read_summary(folder).state == "failed"


def test_a_folder_that_cannot_be_written_is_summarised_all_the_same(tmp_path, monkeypatch):
    folder = recorded.record(tmp_path, "0001", recorded.good())

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(RunFolder, "write", full)
    write_summary(folder, read_state(folder))
    assert read_summary(folder).state == "done"


@pytest.mark.parametrize(
    ("measured", "expected"),
    [
        ({"convert": {"ppl": 6.31, "sqnr_db": 24.1, "tokens_per_second": 17}}, {"ppl": 6.31, "sqnr_db": 24.1,
                                                                             "tokens_per_second": 17.0}),
        ({"convert": {"perplexity": 6.31, "seconds": 3}, "verify": {"ppl": 9.0}}, {"ppl": 6.31}),
        ({"convert": {"ppl": "low"}, "quantize": 7}, {}),
        ([], {}),
    ],
)  # fmt: skip
def test_metrics_are_those_of_stages_that_the_run_made(tmp_path, measured, expected):
    folder = recorded.record(tmp_path, "0001", recorded.good())
    (tmp_path / "metrics.json").write_text(json.dumps(measured))
    write_summary(folder, read_state(folder))
    (tmp_path / "metrics.json").write_text("{")
    assert read_summary(folder).metrics == expected
    with folder.events.open("a") as file:
        file.write("\n")
    assert read_summary(folder).metrics == expected  # made again from the events, which do not know them


def test_the_engine_leaves_a_summary_of_each_run(tmp_path):
    pipeline = Pipeline([Source(SourceConfig()), Fan(FanConfig(fail_at=1))], tmp_path)
    pipeline.construct(RunOptions(executor="inline"))
    (summary,) = run_summaries(pipeline.state_folder)
    assert (summary.state, summary.items, summary.failed) == ("failed", 3, ("fan ar1",))
    folder = find_folder(pipeline.state_folder, summary.id)
    assert kept(folder) == summary
    assert summary.seconds > 0


# Many


def test_the_newest_comes_first(tmp_path):
    for number in (1, 2, 10):
        recorded.record(tmp_path, f"{number:04d}", recorded.good())
    assert [summary.id for summary in run_summaries(tmp_path)] == ["0010", "0002", "0001"]
    assert run_summaries(tmp_path / "nowhere") == []


def test_deleting(tmp_path):
    folder = recorded.record(tmp_path, "0001", recorded.half())
    with folder.held("", (), detached=False), pytest.raises(CacheError) as refused:
        delete_run(tmp_path, "0001")
    assert (refused.value.what, refused.value.remedy) == ("run 0001 is still in progress", "cancel it first")
    assert folder.events.exists()
    delete_run(tmp_path, "0001")
    assert not folder.path.exists()
    with pytest.raises(CacheError) as missing:
        delete_run(tmp_path, "0001")
    assert (missing.value.what, missing.value.remedy) == ("there is no run 0001", "nothing was run in this cache yet")


def test_a_run_that_is_not_there(tmp_path: Path):
    recorded.record(tmp_path, "0001", recorded.good())
    with pytest.raises(CacheError) as missing:
        find_folder(tmp_path, "../0001")
    assert missing.value.remedy == "latest runs: 0001"


# Compared


def test_comparing(tmp_path):
    a = recorded.record(
        tmp_path, "0001", recorded.good(), recipe="backend: HTP\nstages: {convert: {splits: 2, o: 1}}\n"
    )
    b = recorded.record(
        tmp_path, "0002", recorded.good(seconds=15.0), recipe="backend: HTP\nstages: {convert: {splits: 3}, pack: {}}\n"
    )
    compared = compare(a, b)
    assert (compared.a.id, compared.b.id, compared.notes) == ("0001", "0002", ())
    assert [(row.name, row.a, row.b) for row in compared.recipe if row.changed] == [
        ("stages.convert.splits", 2, 3),
        ("stages.convert.o", 1, None),
        ("stages.pack", None, {}),
    ]
    assert [row.name for row in compared.recipe if not row.changed] == ["backend"]
    assert [(row.name, row.a, row.b, row.difference, row.changed) for row in compared.seconds] == [
        ("convert", 20.0, 30.0, 10.0, True),
        ("quantize", 20.0, 30.0, 10.0, True),
    ]
    assert not any(row.changed for row in (*compared.peak_ram, *compared.bytes, *compared.cached))


def test_times_that_differ_as_they_always_do_are_no_change(tmp_path):
    a = recorded.record(tmp_path, "0001", recorded.good())
    b = recorded.record(tmp_path, "0002", recorded.good(seconds=10.4))
    c = recorded.record(tmp_path, "0003", recorded.good(cached=CACHED))
    d = recorded.record(tmp_path, "0004", recorded.good(cached=["convert ar1-split1", "convert ar1-split2"]))
    assert [row.changed for row in compare(a, b).seconds] == [False, False]
    assert [row.changed for row in compare(a, c).seconds] == [True, True]
    assert [(row.a, row.b) for row in compare(a, c).cached] == [("0 of 2", "1 of 2")] * 2
    assert [(row.a, row.b, row.difference) for row in compare(a, d).seconds] == [
        (20.0, "cached", None),
        (20.0, 20.0, 0),
    ]


def test_a_recipe_that_cannot_be_read_is_said(tmp_path):
    a = recorded.record(tmp_path, "0001", recorded.good(), recipe="a: [")
    b = recorded.record(tmp_path, "0002", recorded.good())
    (b.path / "recipe.yaml").unlink()
    compared = compare(a, b)
    assert compared.recipe == ()
    assert compared.notes == (
        "the recipe of run 0001 cannot be read: it is damaged",
        "the recipe of run 0002 cannot be read: No such file or directory",
    )
    assert len(compared.seconds) == 2
