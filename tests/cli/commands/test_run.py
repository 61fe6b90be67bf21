"""`qairt run`: progress, results, failures, interruption."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest
import wait
from toy_cli import command, start

from qairt.files import read_lines

INLINE = ("--executor", "inline")
CLOCK = r"\d\d:\d\d:\d\d "


def plainly(text: str) -> list[str]:
    """Lines without what differs from run to run: clock, seconds, memory, keys."""
    text = re.sub(f"^{CLOCK}", "", text, flags=re.MULTILINE)
    text = re.sub(r"\b\d+\.\d s\b", "T s", text)
    text = re.sub(r"T s \([\d.–]+\)", "T s", text)
    text = re.sub(r"\d+ MB, ", "", text)
    text = re.sub(r" 1?\d\d%", " N%", text)
    text = re.sub(r"_[0-9a-f]{8}\b", "_KEY", text)
    return [re.sub(r"  +", "  ", line).rstrip() for line in text.splitlines()]


def test_a_run_without_a_terminal_prints_a_line_per_event(qairt, place):
    said = qairt("run", "toy.yaml", "--jobs", "1")
    assert said.code == 0
    assert said.err == ""
    lines = plainly(said.out)
    assert lines[0] == "5 items to run, 0 cached; about T s, estimated, at most 1 at a time"
    made = {"source all": 29, "fan ar1": 31, "fan ar2": 31, "upper ar2": 31, "join all": 43}
    # An item may start while the one before it is stored.
    assert sorted(lines[1:11]) == sorted(
        [f"{item}: started; not built yet" for item in made]
        + [f"{item}: T s, {size} B written" for item, size in made.items()]
    )
    assert lines.index("source all: T s, 29 B written") < lines.index("fan ar1: started; not built yet")
    assert lines[11:] == [
        "",
        *said_table(said.out),
        "",
        "join: cache/pipeline_state/join/join_KEY  (2 files, 43 B)",
        "  joined.txt  15 B",
        "  output.json  28 B",
    ]
    assert all(re.match(CLOCK, line) for line in said.out.splitlines()[:11])


def said_table(out: str) -> list[str]:
    lines = plainly(out)
    first = next(place for place, line in enumerate(lines) if line.startswith("stage  "))
    assert lines[first] == "stage  ran  cached  time  wall  peak RAM  written"
    assert [line.split()[0] for line in lines[first + 1 : first + 6]] == ["source", "fan", "upper", "join", "whole"]
    return lines[first : first + 6]


def test_shares_of_the_wall_time_add_up(qairt, place):
    said = qairt("run", "toy.yaml", "stages.fan.sleep=0.2", *INLINE)
    shares = [int(share) for share in re.findall(r"(\d+)%", said.out)]
    assert shares[-1] == 100
    assert 40 <= sum(shares[:-1]) <= 103
    assert shares[1] == max(shares[:-1])


def test_a_second_run_does_nothing_and_reports_that(qairt, place):
    qairt("run", "toy.yaml", *INLINE)
    said = qairt("run", "toy.yaml", *INLINE)
    assert said.code == 0
    assert plainly(said.out) == [
        "nothing to run: all 5 items are cached",
        "",
        "join: cache/pipeline_state/join/join_KEY  (2 files, 43 B)",
        "  joined.txt  15 B",
        "  output.json  28 B",
    ]


def test_after_a_changed_setting_it_lists_what_is_cached_and_why_the_rest_runs(qairt, place):
    qairt("run", "toy.yaml", *INLINE)
    where = '[{"where": {"ar": 1}, "set": {"suffix": "!"}}]'
    said = qairt("run", "toy.yaml", f"stages.fan.overrides={where}", *INLINE)
    assert plainly(said.out)[:6] == [
        f"2 items to run, 3 cached; about T s, from earlier runs, at most {len(os.sched_getaffinity(0))} at a time",
        "cached: source, 1 of 2 in fan, upper",
        "fan ar1: started; stages.fan.suffix  → !",
        "fan ar1: T s, 32 B written",
        "join all: started; fan ar1 changed: stages.fan.suffix  → !",
        "join all: T s, 44 B written",
    ]


def test_until_force_and_where_the_results_are(qairt, place):
    said = qairt("run", "toy.yaml", "--until", "fan", *INLINE)
    assert "upper" not in said.out
    assert plainly(said.out)[-3:] == [
        "fan: 2 folders in cache/pipeline_state/fan", "  fan_KEY  ar1", "  fan_KEY  ar2"
    ]  # fmt: skip
    said = qairt("run", "toy.yaml", "--force", "fan", "--until", "fan", *INLINE)
    assert "fan ar1: started; requested with --force" in said.out


def test_json_is_the_event_stream(qairt, place):
    said = qairt("run", "toy.yaml", "--json", *INLINE)
    assert said.code == 0
    kinds = [event["type"] for event in said.events]
    assert kinds[0] == "run_started"
    assert kinds[-1] == "run_finished"
    assert kinds.count("item_finished") == 5
    opening = said.events[0]
    assert (opening["seconds"], opening["seconds_low"], opening["seconds_high"]) == (1.3, 0.7, 3.1)
    (stream,) = place.rglob("events.jsonl")
    assert said.events == read_lines(stream)


def test_a_failed_item_is_reported_with_its_log_and_the_rest_is_kept(qairt, place):
    said = qairt("run", "toy.yaml", "stages.fan.fail_at=2")
    assert said.code == 1
    assert "fan ar2: FAILED: this node is not supported" in said.out
    (log,) = place.rglob("fan.ar2.log")
    assert said.err == (
        "\n"
        "Error: fan ar2: node_7: this node is not supported\n"
        "  leave it out\n"
        "  the end of its log:\n"
        "    making ar 2\n"
        "    50% half way\n"
        "    GraphError: node_7: this node is not supported\n"
        "      leave it out\n"
        f"  log: {log}\n"
        "\n"
        "1 item failed, 2 skipped because of that (upper ar2, join all). "
        "2 finished items are kept: run again to resume there.\n"
    )
    again = qairt("run", "toy.yaml")
    assert again.code == 0
    assert "source all: started" not in again.out


def test_a_killed_child_is_one_failed_item(qairt, place):
    said = qairt("run", "toy.yaml", "stages.fan.die_at=1")
    assert said.code == 1
    assert said.err.startswith(
        "\nError: fan ar1: its process was ended by SIGSEGV\n"
        "  a bug in the compiler: run again; if it repeats, raise num_splits"
    )
    assert "    about to die\n" in said.err
    assert said.err.count("fan.ar1.log") == 1


def test_a_run_with_json_fails_with_the_same_fields(qairt, place):
    said = qairt("run", "toy.yaml", "stages.fan.fail_at=2", "--json", *INLINE)
    assert said.code == 1
    (failed,) = [event for event in said.events if event["type"] == "item_failed"]
    fields = {name: failed["error"][name] for name in ("type", "what", "where", "remedy", "stage", "label")}
    assert fields == {
        "type": "ItemFailed",
        "what": "this node is not supported",
        "where": "node_7",
        "remedy": "leave it out",
        "stage": "fan",
        "label": "ar2",
    }


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_a_signal_ends_children_and_keeps_what_is_finished(place, qairt, number):
    child = start("run", "toy.yaml", "stages.upper.sleep=60")
    items = wait_for_item(child, "upper ar2: started", place)
    child.send_signal(number)
    began = time.monotonic()
    out, err = child.communicate(timeout=20)
    assert child.returncode == 130
    assert time.monotonic() - began < 8
    assert re.fullmatch(
        r"\nInterrupted after \d+\.\d s\. [23] finished items are kept: the same command resumes there\.\n", err
    ), err
    assert not any(process.is_running() for process in items)
    assert list(place.rglob(".making-*")) == []
    said = qairt("plan", "toy.yaml", "--json")
    assert said.data["to_run"] in (2, 3)
    assert qairt("run", "toy.yaml", *INLINE).code == 0


def wait_for_item(child: subprocess.Popen[str], line: str, place: Path) -> list[psutil.Process]:
    """Read until `line` was said and that item's process runs; returns the child's children."""
    assert child.stdout is not None
    for said in child.stdout:
        if line in said:
            break
    process = psutil.Process(child.pid)
    wait.until(lambda: process.children(recursive=True), describe=lambda: "no item was started")
    return process.children(recursive=True)


def test_an_interruption_while_planning(place):
    os.mkfifo(place / "slow.txt")
    child = start("run", "toy.yaml", "stages.source.file=slow.txt")
    with (place / "slow.txt").open("wb"):  # opens when planning has opened it, which then reads without end
        child.send_signal(signal.SIGINT)
        _, err = child.communicate(timeout=20)
    assert child.returncode == 130
    assert err == "Error: interrupted\n  finished items are kept: the same command resumes there\n"


BLOCKED_IMPORT = """
import sys

class Block:
    def find_spec(self, name, path, target=None):
        if name == sys.argv[1]:
            sys.meta_path.remove(self)
            open("importing").read()

sys.meta_path.insert(0, Block())
from qairt.cli.main import main
sys.exit(main(sys.argv[2:]))
"""


@pytest.mark.parametrize("module", ["qairt.cli.console", "typer", "qairt.cli.commands.run", "pydantic", "qairt.llm"])
def test_an_interruption_while_importing(place, module):
    os.mkfifo(place / "importing")
    words = [sys.executable, "-c", BLOCKED_IMPORT, module, "run", "toy.yaml"]
    child = subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    with (place / "importing").open("wb"):  # opens when the import has begun, which then never ends
        child.send_signal(signal.SIGINT)
        out, err = child.communicate(timeout=20)
    assert (child.returncode, out, err) == (130, "", "Error: interrupted\n")


def test_a_run_prints_during_long_silence(place):
    script = (
        "import qairt.cli.watch.lines as lines, sys, toy_cli\nlines.QUIET_SECONDS = 0.3\n"
        "lines.EventLines.__init__.__defaults__ = (0.3,)\n"
        "sys.exit(toy_cli.toys_and_main(['run', 'toy.yaml', 'stages.upper.sleep=1.5']))\n"
    )
    out = subprocess.run([sys.executable, "-c", script], check=True, capture_output=True, text=True).stdout
    late = r"(, longer than estimated \(0\.1 s\))?"
    said = rf"\d+% done, about [\d.]+ s \([\d.–]+\) left; running: upper ar2 \(\d\.\d s{late}\)\n"
    assert re.search(CLOCK + said, out), out


def test_two_runs_at_once_build_each_item_once(place):
    counter = place / "counter.txt"
    words = ("run", "toy.yaml", f"stages.fan.counter={counter}", "stages.fan.sleep=0.5")
    children = [start(*words) for _ in range(2)]
    assert [child.wait(30) for child in children] == [0, 0]
    assert sorted(counter.read_text().split()) == ["1", "2"]


def test_on_a_terminal_finished_items_scroll_by_and_nothing_of_the_live_region_stays(place):
    screen = on_a_terminal(*command("run", "toy.yaml", "--no-tui", "stages.fan.sleep=0.6"))
    assert "✓ \033[0mfan ar1:" in screen
    assert re.search(r"of 5 items", screen)
    assert screen.rstrip().endswith("output.json  28 B\nNext: qairt report toy.yaml stages.fan.sleep=0.6")


def test_no_color_is_respected_on_a_terminal(place, monkeypatch):
    assert "\033[32m" in on_a_terminal(*command("run", "toy.yaml", "--no-tui"))
    monkeypatch.setenv("NO_COLOR", "1")
    colours = re.findall(
        r"\033\[[\d;]*3\d[\d;]*m", on_a_terminal(*command("run", "toy.yaml", "--no-tui", "--force", "fan"))
    )
    assert colours == []
    assert re.findall(r"\033\[[\d;]+m", on_a_terminal(*command("plan", "toy.yaml"))) == []


def on_a_terminal(*words: str) -> str:
    """What a command writes to a terminal of 80 columns."""
    import pty

    environment = os.environ | {"TERM": "xterm-256color", "COLUMNS": "80"}
    ours, theirs = pty.openpty()
    child = subprocess.Popen(words, stdout=theirs, stderr=theirs, stdin=theirs, env=environment, start_new_session=True)
    os.close(theirs)
    said = b""
    while True:
        try:
            part = os.read(ours, 65536)
        except OSError:
            break
        if not part:
            break
        said += part
    os.close(ours)
    assert child.wait(20) == 0, said.decode()
    return said.decode().replace("\r\n", "\n")


def test_a_damaged_entry_is_reported_and_rebuilt(qairt, place):
    qairt("run", "toy.yaml", *INLINE)
    (entry,) = place.glob("cache/pipeline_state/upper/upper_*")
    (entry / "text.txt").write_text("x")
    said = qairt("run", "toy.yaml", *INLINE)
    assert said.code == 0
    assert f"warning: upper/{entry.name}: text.txt has 1 bytes, not 7; it was set aside and will be rebuilt" in said.out
    assert "upper ar2: started; its result was damaged or removed" in said.out


def test_the_stream_of_a_run_can_be_read_back(qairt, place):
    said = qairt("run", "toy.yaml", "--json", *INLINE)
    from qairt.engine.record.events import parse_event
    from qairt.engine.record.state import RunState

    state = RunState()
    for line in said.out.splitlines():
        state.apply(parse_event(json.loads(line)))
    assert (state.status, state.count("done")) == ("done", 5)
