"""Notices about the end of a run."""

from __future__ import annotations

from pathlib import Path

import pytest
from wait import until

from qairt.engine.record.state import RunState
from qairt.tui import notifications
from qairt.tui.settings import UserSettings
from qairt.tui.terminal.notice import run_command, sequences

SSH = {"SSH_CONNECTION": "10.0.0.1 2 10.0.0.2 22"}
NOTICES = ("\x1b]9;llama, done\x07", "\x1b]777;notify;qairt;llama, done\x07")


@pytest.mark.parametrize(
    ("by", "environ", "written"),
    [
        ("off", SSH, ""),
        ("bell", SSH, "\a"),
        ("auto", {}, "\a"),
        ("auto", SSH, "\a" + "".join(NOTICES)),
        (
            "auto",
            SSH | {"TMUX": "/tmp/tmux,1,0"},
            "\a" + "".join("\x1bPtmux;" + each.replace("\x1b", "\x1b\x1b") + "\x1b\\" for each in NOTICES),
        ),
    ],
)
def test_sequences(by, environ, written):
    assert sequences("llama\x1b;\x07 done", by, environ) == written


class Terminal:
    def __init__(self) -> None:
        self._driver = self
        self.written = ""

    def write(self, text: str) -> None:
        self.written += text


@pytest.mark.parametrize(("seconds", "written"), [(59.0, ""), (61.0, "\a")])
def test_only_a_run_of_a_minute_or_more(monkeypatch, seconds, written):
    monkeypatch.delenv("SSH_CONNECTION", raising=False)
    terminal = Terminal()
    notifications.announce_end(terminal, UserSettings(), RunState(run_id="0001", seconds=seconds, status="done"))
    assert terminal.written == written


def test_a_command_of_the_user(tmp_path: Path, monkeypatch):
    place = tmp_path / "said"
    settings = UserSettings(notify="off", notify_command=f'echo "$1 $QAIRT_RUN $QAIRT_STATE" > {place}')
    state = RunState(run_id="0007", recipe="/r/llama.yaml", seconds=75.0, status="failed")
    terminal = Terminal()
    notifications.announce_end(terminal, settings, state)
    until(lambda: place.is_file() and place.read_text().endswith("\n"))
    assert place.read_text() == "llama: run 0007 failed after 75.0 s 0007 failed\n"
    assert terminal.written == ""


def test_a_command_that_fails_is_nobodys_trouble():
    run_command("exit 3", "text", {})
