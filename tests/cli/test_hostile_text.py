"""Nothing that a recipe, model, log or file name contains commands the terminal: every command, every output."""

from __future__ import annotations

import re
import threading
from pathlib import Path

import pytest
import toy_stages as toy
import yaml

from qairt.cli import console
from qairt.cli.app import SUMMARIES
from qairt.cli.watch.live import LiveRegion
from qairt.engine import stage as stage_module
from qairt.engine.record import events as ev
from qairt.engine.stage import Context, StageInput, Task
from qairt.errors import GraphError

EVIL = "\x1b]0;owned\x07\x1b[31m\x9b2J\u202ereversed\u2066\x7f\x08[bold][link=https://x]"
SAFE = r"\x1b]0;owned\x07\x1b[31m\x9b2J\u202ereversed\u2066\x7f\x08[bold][link=https://x]"
COMMANDS = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069]")
RECIPE = f"evil{EVIL.replace('/', '')}.yaml"


class Hostile(toy.Source):
    """Prints, says and raises what it must not."""

    name = "hostile"

    def run(self, task: Task, context: Context[toy.SourceConfig, StageInput]) -> toy.Text:
        print(EVIL)
        context.progress(0.5, EVIL)
        raise GraphError(EVIL, where=EVIL, remedy=EVIL)


def words_of(command: str) -> list[list[str]]:
    """Command lines that make a command say hostile text."""
    if command in ("recipes", "migrate", "report", "check", "plan", "verify", "evaluate", "tui", "execute", "generate"):
        return [[command, RECIPE], [command, EVIL], [command, RECIPE, f"{EVIL}=1"], [command, RECIPE, f"--{EVIL}"]]
    return {
        "run": [["run", RECIPE, "--executor", "inline"], ["run", RECIPE, f"stages.hostile.{EVIL}=1"], ["run", EVIL]],
        "bundle": [["bundle", "check", EVIL], ["bundle", EVIL]],
        "cache": [["cache", "list", RECIPE], ["cache", "clear", RECIPE, EVIL, "--yes"], ["cache", "why", RECIPE, EVIL]],
        "init": [["init", EVIL], ["init", RECIPE]],
        "logs": [["logs", RECIPE], ["logs", RECIPE, "hostile"], ["logs", RECIPE, EVIL], ["logs", "--run", EVIL]],
        "history": [["history", RECIPE], ["history", RECIPE, EVIL]],
        "export": [["export", RECIPE, EVIL]],
    }.get(command, [[command, EVIL], [command, RECIPE], [command]])


@pytest.fixture
def hostile(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stage_module, "_registry", {**stage_module.registered_stages(), "hostile": Hostile})
    content = {"model_id_or_path": EVIL, "cache_dir": "cache", "stages": {"hostile": {"text": EVIL}}}
    Path(RECIPE).write_text(yaml.safe_dump(content))


def test_no_command_prints_what_commands_a_terminal(hostile, qairt):
    said = []
    for command in ["run", *(name for name in SUMMARIES if name != "run")]:
        for words in words_of(command):
            for further in ([], ["--json"]):
                done = qairt(*words, *further)
                said.append(done.out + done.err)
                assert not COMMANDS.search(done.out + done.err), words
                assert "internal error" not in done.err, done.err
    assert SAFE in "".join(said)


def test_json_keeps_the_text(hostile, qairt):
    done = qairt("run", RECIPE, "--executor", "inline", "--json")
    messages = [event.get("error", {}).get("what") for event in done.events if isinstance(event.get("error"), dict)]
    assert EVIL in messages


def test_on_a_terminal_only_our_own_styles_pass(monkeypatch):
    monkeypatch.delenv("NO_COLOR", raising=False)
    monkeypatch.setattr(console, "is_terminal", lambda stream=None: True)
    assert console.shown(f"{console.styled(EVIL, 'bold', 'red')} {EVIL}") == f"\033[1;31m{SAFE}\033[0m {SAFE}"


def test_the_live_region_shows_text_only(capsys):
    region = LiveRegion(threading.Event())
    with region:
        for event in (
            ev.ItemStarted(time=0.0, stage="a", label=EVIL, key="", reason="", log="", threads=1),
            ev.LogLine(time=0.0, level="warning", message=EVIL),
        ):
            region.event(event)
    drawn = capsys.readouterr().out
    assert f"warning: {SAFE}" in drawn
    assert not COMMANDS.search(drawn)
