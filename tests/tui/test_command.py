"""A command beside the screen: its output, its end, cancelling it."""

from __future__ import annotations

import signal
import sys
from pathlib import Path

import pytest
from wait import until

from qairt.errors import CacheError
from qairt.tui import command as module
from qairt.tui.command import RunningCommand


def program(monkeypatch: pytest.MonkeyPatch, text: str) -> None:
    """What runs instead of qairt."""
    monkeypatch.setattr(module, "python_command", lambda *arguments: [sys.executable, "-c", text, *arguments])


def test_its_output_is_in_the_file(tmp_path: Path) -> None:
    running = RunningCommand(["--version"], tmp_path / "new" / "version.log")
    until(lambda: running.exit_code is not None)
    assert running.exit_code == 0
    assert running.log.read_text().startswith("qairt ")
    took = running.seconds
    assert took == running.seconds, "the clock stops with it"


def test_it_is_interrupted_like_with_ctrl_c_and_then_killed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    program(
        monkeypatch,
        "import time\ntry:\n  print('up', flush=True); time.sleep(60)\nexcept KeyboardInterrupt:\n  print('kept')",
    )
    running = RunningCommand(["verify"], tmp_path / "verify.log")
    until(lambda: "up" in running.log.read_text())
    running.cancel()
    until(lambda: running.exit_code is not None)
    assert running.cancelled
    assert running.log.read_text() == "up\nkept\n"
    program(
        monkeypatch, "import signal, time\nsignal.signal(2, signal.SIG_IGN); print('up', flush=True); time.sleep(60)"
    )
    deaf = RunningCommand(["verify"], tmp_path / "verify.log")
    until(lambda: "up" in deaf.log.read_text())
    deaf.cancel()
    deaf.cancel()
    until(lambda: deaf.exit_code is not None)
    assert deaf.exit_code == -signal.SIGKILL


def test_a_place_that_cannot_be_written(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(CacheError, match="report cannot start") as error:
        RunningCommand(["report"], tmp_path / "file" / "report.log")
    assert error.value.remedy == "this needs a place to write its output"
