"""What the real program says while it runs and afterwards is true, and the same wherever it is said."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import time

from terminal import Terminal
from toy_cli import command
from toy_place import Place, statuses

from qairt.engine.record.events import RunStarted, read_events


def said(place: Place, *words: str) -> str:
    """What a command prints in another window."""
    return subprocess.run(
        command(*words), cwd=place.folder, env=os.environ | place.env, capture_output=True, text=True, check=True
    ).stdout


def clock(terminal: Terminal) -> str:
    return re.findall(r"\d\d:\d\d:\d\d", terminal.text().splitlines()[0])[0]


def goes_on(terminal: Terminal, page: str) -> None:
    """The header's clock moves while `page` is in front."""
    terminal.wait_for(page)
    before = clock(terminal)
    terminal.wait_for(lambda text: page in text and clock(terminal) != before)


def test_a_run_tells_the_truth_in_every_window_and_behind_every_dialog(place):
    place.write(sleep=60.0)
    terminal = place.open("run", str(place.recipe))
    terminal.wait_for("half way")
    # one estimate, in the same words: the header's lies in the range that the others give a moment later
    (words,) = re.findall(r"about ([\d.]+) s \(([\d.]+)–[\d.]+\) left", terminal.text())
    now, low = map(float, words)
    (run,) = json.loads(said(place, "status", "toy.yaml", "--json"))["runs"]
    assert run["left"]["low"] <= run["left_seconds"] == run["left"]["seconds"] <= run["left"]["high"]
    assert low <= now <= run["left"]["high"]
    row = said(place, "status", "toy.yaml").splitlines()[1]
    assert re.match(r"0001 +running +1 of 7 .* about [\d.]+ (s|min) \([\d.]+–[\d.]+\) ", row)
    # plain lines began with the same estimate, which the header counts down from
    lines = said(place, "logs", "toy.yaml")
    (opening,) = re.findall(r"7 items to run.*; about ([\d.]+) s \(([\d.]+)–([\d.]+)\)", lines)
    began, lowest, highest = map(float, opening)
    assert lowest <= began <= highest
    assert low <= began
    assert now <= highest
    terminal.send("?")
    goes_on(terminal, "Show the item's manifest entry.")
    terminal.escape()
    terminal.send("q")
    goes_on(terminal, "is still running")
    terminal.escape()
    terminal.wait_for(lambda text: "is still running" not in text)
    # an item that runs is not cancelled before it is said what that costs
    terminal.send("x")
    goes_on(terminal, "that is lost")
    assert "It has run for " in terminal.text()
    terminal.send("n")
    terminal.wait_for(lambda text: "that is lost" not in text)
    terminal.send(" ")
    terminal.wait_for(lambda text: "paused" in text.splitlines()[0])
    assert "▶" not in terminal.text().splitlines()[0]
    os.kill(terminal.process.pid, signal.SIGTERM)
    assert terminal.wait() == 130
    ending = "run 0001 is ending: finished items are kept, and the same command resumes there"
    ended = r"Interrupted after .* s\. 1 finished item is kept: the same command resumes there"
    text = terminal.text().replace("\n", "")  # the line may be longer than the screen is wide
    said_so = ending in text or re.search(ended, text) is not None
    assert said_so, terminal.text()
    assert "is active" not in terminal.text()


def test_what_is_cleared_shows_everywhere_until_it_is_back(place):
    terminal = place.open("run", str(place.recipe))
    terminal.pass_results()
    terminal.send("j" * 12)
    terminal.wait_for("4 Run")  # join wrote nothing: the feed stands there
    terminal.wait_for("done: it logged nothing; it took")
    terminal.send("c")
    terminal.wait_for("frees 51 B at the next prune")
    terminal.send("y")
    terminal.wait_for(lambda text: re.search(r"6/7 items · cleared .* ago · z brings it back", text) is not None)
    terminal.wait_for(lambda text: re.search(r"join +□ .* 0/1 +cleared", text) is not None)
    why = said(place, "cache", "why", "toy.yaml").splitlines()[-1]
    assert re.fullmatch(r"join +all +cleared .* ago · `qairt cache undo` brings it back", why)
    plan = said(place, "plan", "toy.yaml")
    assert re.search(r"join +all .*cleared .* ago · `qairt cache undo` brings it back", plan), plan
    terminal.send("m")
    terminal.wait_for(lambda text: re.search(r"state +□ cleared: .* ago · z brings it back", text) is not None)
    terminal.send("p")
    terminal.wait_for(
        lambda text: re.search(r"join +- +□ cleared +1/1 +cleared .* ago · z brings it back", text) is not None
    )
    terminal.escape()
    terminal.send("z")
    terminal.wait_for("7/7 items")
    # pane 5 shows what manifest.json says
    terminal.wait_for("manifest as in the cache")
    manifest = place.folder / "cache" / "pipeline_state" / "manifest.json"
    (entry,) = json.loads(said(place, "cache", "show", "toy.yaml", "join", "--json"))
    manifest.write_text(manifest.read_text().replace(entry["key"], "0" * 64))
    terminal.send("k")
    terminal.send("j")
    terminal.send("m")
    terminal.wait_for("manifest stale: it records key 00000000")
    manifest.unlink()
    terminal.send("k")
    terminal.send("j")
    terminal.send("m")
    terminal.wait_for("manifest missing: there is no manifest.json; a run writes it")
    terminal.send("q")
    assert terminal.wait() == 0


def items_of(place: Place) -> list[str]:
    (started,) = [event for event in read_events(place.run().events) if isinstance(event, RunStarted)]
    return [f"{item.stage} {item.label}" for item in started.items]


def test_an_edit_in_another_window_is_planned_again_and_enter_runs_no_old_recipe(place):
    terminal = place.open("tui", str(place.recipe))
    terminal.wait_for("7 new")
    text = place.recipe.read_text()
    assert "[1, 2, 3]" in text
    edited = time.monotonic()
    place.recipe.write_text(text.replace("[1, 2, 3]", "[1, 2]"))
    terminal.wait_for("5 new", since=edited)
    terminal.wait_for("stages.fan.arn")  # what changed
    place.recipe.write_text(text.replace("[1, 2, 3]", "[1, 3, 4]"))
    terminal.send("\r")  # at once
    terminal.wait_for(lambda text: "run 0001" in text or "7 new" in text)
    if "run 0001" not in terminal.text():
        terminal.send("\r")
    terminal.pass_results()
    assert items_of(place) == ["source all", "fan ar1", "fan ar3", "fan ar4", "upper ar3", "upper ar4", "join all"]
    terminal.send("q")
    assert terminal.wait() == 0
    assert statuses(place.run()) == ["done"]


def test_a_failed_item_says_in_its_log_what_went_wrong(place):
    place.write(fan="fail_at: 2")
    terminal = place.open("run", str(place.recipe), size=(100, 30))
    terminal.wait_for("1 failed")
    terminal.wait_for("run failed after")
    terminal.send("gjjj")
    terminal.wait_for("Log · fan ar2")
    terminal.send("\r")
    wanted = [
        "50% half way",
        "error: this node is not supported",
        "  where: node_7",
        "  remedy: leave it out",
    ]
    for line in wanted:
        terminal.wait_for(line)
    printed = said(place, "logs", "toy.yaml", "fan", "ar2")
    for line in wanted:
        assert line in printed
    terminal.send("q")
    assert terminal.wait() == 1
