"""Copying goes to the terminal and to a file, reports the outcome, and never raises."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from textual.app import App

from qairt.tui.terminal.clipboard import CAP, copy


@pytest.fixture(autouse=True)
def state(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    monkeypatch.delenv("TMUX", raising=False)
    return tmp_path / "state" / "qairt" / "clipboard.txt"


def test_the_terminal_and_the_file_get_the_exact_text(state: Path) -> None:
    app: App[None] = App()
    text = "stages/convert  ≡ [bold]not markup[/]\n\tend"
    assert copy(app, text) == f"copied {len(text)} characters; also in {state}"
    assert app.clipboard == text
    assert state.read_text() == text
    assert state.stat().st_mode & 0o777 == 0o600


def test_one_character_is_not_plural(state: Path) -> None:
    assert copy(App(), "x").startswith("copied 1 character;")


def test_a_home_folder_is_written_short(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("XDG_STATE_HOME")
    monkeypatch.setenv("HOME", str(tmp_path))
    assert copy(App(), "ab") == "copied 2 characters; also in ~/.local/state/qairt/clipboard.txt"
    assert (tmp_path / ".local/state/qairt/clipboard.txt").read_text() == "ab"


def test_what_is_too_long_for_a_terminal_is_cut_at_a_whole_character(state: Path) -> None:
    app: App[None] = App()
    text = "é" * CAP
    assert copy(app, text) == f"copied the first {CAP} of {2 * CAP} bytes; the full text is in {state}"
    assert app.clipboard == "é" * (CAP // 2)
    assert state.read_text() == text
    odd = "a" + "é" * CAP
    copy(app, odd)
    assert len(app.clipboard.encode()) == CAP - 1


def test_text_of_exactly_the_cap_is_whole(state: Path) -> None:
    app: App[None] = App()
    assert copy(app, "x" * CAP).startswith(f"copied {CAP} characters")
    assert len(app.clipboard) == CAP


def test_tmux_is_told_what_it_needs(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TMUX", "/tmp/tmux-0/default,1,0")
    assert copy(App(), "x").endswith("; in tmux this needs: set -g set-clipboard on")


def test_a_folder_that_cannot_be_written_is_said_not_raised(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    blocked = tmp_path / "file"
    blocked.write_text("")
    monkeypatch.setenv("XDG_STATE_HOME", str(blocked))
    app: App[None] = App()
    said = copy(app, "text")
    assert said == f"copied 4 characters; not saved to {blocked}/qairt/clipboard.txt: Not a directory"
    assert app.clipboard == "text"


@pytest.mark.skipif(os.geteuid() == 0, reason="root writes everywhere")
def test_a_read_only_folder_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tmp_path / "ro"
    folder.mkdir(mode=0o500)
    monkeypatch.setenv("XDG_STATE_HOME", str(folder))
    assert "not saved to" in copy(App(), "text")


def test_half_a_surrogate_pair_is_copied_as_a_question_mark(state: Path) -> None:
    app: App[None] = App()
    copy(app, "a\udc80b")
    assert app.clipboard == "a?b"
    assert state.read_text() == "a?b"
