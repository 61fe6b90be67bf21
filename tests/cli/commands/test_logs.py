"""`qairt logs`: events as lines, an item's log, following."""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
import threading
from pathlib import Path

import pytest
import recorded_runs as recorded
import toy_cli
import wait

from qairt.cli.text import run_log
from qairt.cli.text.run_log import RunLog, plain
from qairt.engine.record.folder import RunFolder
from qairt.engine.record.tool_lines import last_lines
from qairt.tui.lines.log import level_of

STATE = Path("qairt-cache/tiny/pipeline_state")


def words(text: str) -> list[str]:
    """Lines without their times."""
    return [line[9:] if line[2:3] == ":" else line for line in text.splitlines()]


def append(folder: RunFolder, events: list) -> None:
    with folder.events.open("a") as file:
        file.write("".join(map(recorded.line, events)))


def test_a_runs_events(qairt):
    recorded.record(STATE, "0001", recorded.failing())
    said = qairt("logs")
    assert said.code == 0
    opening, *lines = words(said.out)
    assert opening.startswith("4 items to run, 0 cached; about ")
    assert lines == [
        "convert ar1-split1: started; never made",
        "convert ar1-split1: 10.0 s, 2.00 GB, 5 kB written",
        "convert ar1-split2: started; never made",
        "convert ar1-split2: FAILED: it was killed: out of memory",
        "quantize ar1-split1: started; never made",
        "quantize ar1-split1: 10.0 s, 2.00 GB, 5 kB written",
        "quantize ar1-split2: not run: convert ar1-split2 failed",
        "run failed after 21.0 s: 1 item built, 0 cached, 1 failed",
    ]
    assert words(qairt("logs", "-n", "1").out) == ["run failed after 21.0 s: 1 item built, 0 cached, 1 failed"]
    assert qairt("logs", "-n", "0").out == ""


def test_the_events_of_one_stage(qairt):
    recorded.record(STATE, "0001", recorded.good(cached=("convert ar1-split1", "quantize ar1-split1")))
    assert words(qairt("logs", "quantize").out) == [
        "quantize ar1-split2: started; never made",
        "quantize ar1-split2: 10.0 s, 2.00 GB, 5 kB written",
    ]
    said = qairt("logs", "0001", "quantise")
    assert (said.code, said.err) == (2, "Error: run 0001 has no stage quantise\n  it has convert, quantize\n")


def test_a_killed_run_and_a_torn_last_line(qairt):
    folder = recorded.record(STATE, "0001", recorded.half(), tail='{"type":"run_fin')
    assert words(qairt("logs", "-f").out)[-2:] == [
        "convert ar1-split2: started; never made",
        "the run's process has ended; its running items were interrupted",
    ]
    folder.events.unlink()
    assert words(qairt("logs").out) == ["the run's process has ended; its running items were interrupted"]


def test_a_newer_versions_records_are_counted(qairt):
    recorded.record(STATE, "0001", [*recorded.good(), {"v": 2, "type": "run_napped", "time": 1.0}])
    said = qairt("logs")
    assert said.code == 0
    assert said.err == "Note: a newer qairt wrote 1 record of this run that this version cannot read\n"


def test_an_items_log(qairt):
    folder = recorded.record(STATE, "0001", recorded.failing())
    log = folder.logs / "convert.ar1-split2.log"
    log.write_bytes(b"one\r\n\x1b[31mtwo\x1b[0m \x1b]0;title\x07[bold]\n 10 %\r 20 %\rthr\xffee\x00")
    assert qairt("logs", "convert", "ar1-split2").out == "one\ntwo [bold]\n 10 %\n 20 %\nthr\ufffdee\n"
    assert qairt("logs", "0001", "convert", "ar1-split2", "-n", "2", "-f").out == " 20 %\nthr\ufffdee\n"


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["conver", "all"], "run 0001 has no stage conver\n  it has convert, quantize"),
        (["convert", "all"], "run 0001 has no item convert all\n  it has ar1-split1, ar1-split2"),
        (
            ["quantize", "ar1-split2"],
            "run 0001 has no log of quantize ar1-split2\n  not run: convert ar1-split2 failed",
        ),
        (["0009"], "there is no run 0009\n  existing runs: 0001"),
        (["a", "b", "c"], "a is neither a recipe nor a run\n  `qairt status` lists the latest runs"),
    ],
)
def test_what_is_not_there(qairt, words, message):
    recorded.record(STATE, "0001", recorded.failing())
    said = qairt("logs", *words)
    assert (said.code, said.err) == (2, f"Error: {message}\n")


def test_a_run_by_recipe_by_number_and_by_option(qairt, place):
    recorded.record(place / "cache" / "pipeline_state", "0001", recorded.failing())
    recorded.record(place / "cache" / "pipeline_state", "0002", recorded.good())
    here = ("--cache-dir", "cache")
    first, second = qairt("logs", "0001", *here).out, qairt("logs", "0002", *here).out
    assert first != second
    assert qairt("logs", *here).out == qairt("logs", "toy.yaml").out == qairt("logs", "-r", "toy.yaml").out == second
    for words in (["--run", "1", *here], ["toy.yaml", "--run", "0001"], ["cache/1", "-r", "toy.yaml"]):
        assert qairt("logs", *words).out == first
    of_stage = qairt("logs", "0001", "convert", *here).out
    for words in (["convert", "--run", "1", *here], ["toy.yaml", "convert", "--run", "1"]):
        assert qairt("logs", *words).out == of_stage
    said = qairt("logs", "1", "--run", "2")
    assert (said.code, said.err) == (2, "Error: two runs are named: 1 and 2\n  leave one out\n")


def test_nothing_was_run(qairt):
    assert qairt("logs").code == 2
    STATE.mkdir(parents=True)
    assert qairt("logs").err == "Error: nothing has run here yet\n  qairt run RECIPE\n"


@pytest.mark.parametrize(
    ("text", "expected"),
    [("a\tb", "a\tb"), ("\x1b[1;31mred\x1b[K", "red"), ("\x1b]8;;http://x\x1b\\link", "link"), ("\x9b2Jx\x7f", "2Jx")],
)
def test_plain(text, expected):
    assert plain(text) == expected


# Following


def test_following_until_the_run_ends(monkeypatch):
    monkeypatch.setattr(run_log, "_POLL", 0.01)
    folder = recorded.record(STATE, "0001", recorded.half())
    more = [recorded.made(recorded.entries()[1], recorded.BEGAN + 10, 5.0)[1]]
    batches: list[list[str]] = []

    def follow() -> None:
        for batch in RunLog(folder, follow=True).of_run():
            batches.append(batch)

    with folder.held("", (), detached=False):
        reader = threading.Thread(target=follow)
        reader.start()
        wait.until(lambda: any(batches))
        before = len(batches)
        append(folder, more)
        wait.until(lambda: any(batches[before:]))
        append(folder, [recorded.closing("done", recorded.BEGAN + 20)])
        reader.join(5)
    assert not reader.is_alive()
    said = [line for batch in batches for line in words("\n".join(batch))]
    assert said[-2:] == [
        "convert ar1-split2: 5.0 s, 2.00 GB, 5 kB written",
        "run done after 20.0 s: 1 item built, 0 cached, 0 failed",
    ]


def test_following_an_item_until_it_ends(monkeypatch):
    monkeypatch.setattr(run_log, "_POLL", 0.01)
    folder = recorded.record(STATE, "0001", recorded.half())
    log = folder.logs / "convert.ar1-split2.log"
    with folder.held("", (), detached=False):
        batches = RunLog(folder, follow=True).of_item("convert", "ar1-split2")
        assert next(batches) == []
        log.write_text("first\nsec")
        assert next(batches) == ["first"]
        with log.open("a") as file:
            file.write("ond\nlast")
        append(folder, [recorded.made(recorded.entries()[1], recorded.BEGAN + 10, 5.0)[1]])
        assert list(batches) == [["second", "last"]]


@pytest.mark.skipif(not hasattr(signal, "SIGINT") or os.name == "nt", reason="needs POSIX signals")
def test_ctrl_c_stops_following_and_the_run_continues():
    folder = recorded.record(STATE, "0001", recorded.half())
    with folder.held("", (), detached=False):
        child = toy_cli.start("logs", "0001", "-f")
        assert child.stdout is not None
        while "convert ar1-split2: started" not in child.stdout.readline():
            assert child.poll() is None
        child.send_signal(signal.SIGINT)
        try:
            out, err = child.communicate(timeout=20)
        except subprocess.TimeoutExpired:
            child.kill()
            raise
        assert (child.returncode, out, err) == (0, "", "")
        assert folder.liveness() == "running"
        assert list((folder.path / "control").glob("*")) == []


def test_a_failed_items_log_ends_with_the_cause_its_last_lines_and_the_remedy(qairt):
    assert qairt("run", "toy.yaml", "stages.fan.fail_at=2", "--jobs", "1").code != 0
    lines = qairt("logs", "toy.yaml", "fan", "ar2").out.splitlines()
    assert lines[:2] == ["making ar 2", "50% half way"]
    at = lines.index("error: this node is not supported")
    assert lines[at:] == [
        "error: this node is not supported",
        "  where: node_7",
        "  the last lines before it:",
        "    making ar 2",
        "    50% half way",
        *[f"    {line}" for line in lines[2 : at - 1]],
        "  remedy: leave it out",
    ]


def test_nothing_written_is_said_with_the_items_state(qairt, place):
    qairt("run", "toy.yaml")
    assert re.fullmatch(r"done: it logged nothing; it took \d+\.\d s\n", qairt("logs", "toy.yaml", "source", "all").out)
    qairt("run", "toy.yaml", "stages.fan.suffix=x")
    assert qairt("logs", "toy.yaml", "source", "all").err == (
        "Error: run 0002 has no log of source all\n"
        "  cached: its log is that of run 0001: `qairt logs 0001 source all`\n"
    )
    shutil.rmtree(place / "cache" / "pipeline_state" / "runs" / "0001")
    assert qairt("logs", "toy.yaml", "source", "all").err == (
        "Error: run 0002 has no log of source all\n  cached: the log of its run is gone\n"
    )


def test_lines_of_tools_that_mean_nothing_are_folded(qairt):
    folder = recorded.record(STATE, "0001", recorded.failing())
    log = folder.logs / "convert.ar1-split2.log"
    noise = (
        "[W:onnxruntime:, qnn_ep.cc:933 QnnEp] File mapped weights feature is only available on Windows arm64 devices",
        "[W:onnxruntime:, io.cc:26 EpContextIoDispatch] EPContext encryption config unavailable (Experimental)",
        "[E:onnxruntime:, qnn_ep.cc:3672 CreateHtpPowerConfigId] Failed to create HTP power config id.",
    )
    log.write_text("\n".join(["writing", *noise, "compiling", noise[2], "graph 1 of 2"]))
    assert qairt("logs", "convert", "ar1-split2").out.splitlines() == [
        "writing",
        "(3 lines of the vendor's tools that mean nothing)",
        "compiling",
        "(1 line of the vendor's tools that means nothing)",
        "graph 1 of 2",
    ]
    assert last_lines(log, 2) == ["compiling", "graph 1 of 2"]
    assert [level_of(line) for line in (*noise, "[E:onnxruntime: x] Failed to load")] == ["note"] * 3 + ["error"]
