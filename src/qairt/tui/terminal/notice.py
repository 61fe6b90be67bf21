"""Telling a person who looks elsewhere that a run has ended: a bell, a notice on the desktop, a command of theirs."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Mapping
from contextlib import suppress
from typing import Literal

NotifyBy = Literal["auto", "bell", "off"]
"""`auto`: the bell, and over SSH a notice on the desktop by OSC 9 and 777; `bell`: the bell alone."""

AFTER = 60.0
"""Seconds of a run after which its end is announced."""
_BELL = "\a"


def sequences(text: str, by: NotifyBy, environ: Mapping[str, str]) -> str:
    """What is written to the terminal to announce a text; empty if nothing is.

    Args:
        environ: of the screen; `SSH_CONNECTION` and `TMUX` are used.
    """
    if by == "off":
        return ""
    if by == "bell" or not environ.get("SSH_CONNECTION"):
        return _BELL
    shown = "".join(character for character in text if character.isprintable()).replace(";", ",")
    notices = [f"\x1b]9;{shown}\x07", f"\x1b]777;notify;qairt;{shown}\x07"]
    if environ.get("TMUX"):  # it passes on only what is wrapped so
        notices = [f"\x1bPtmux;{notice.replace(chr(27), 2 * chr(27))}\x1b\\" for notice in notices]
    return _BELL + "".join(notices)


def run_command(command: str, text: str, facts: Mapping[str, str]) -> None:
    """Run a user's command in a shell, beside the screen; what it prints is dropped.

    Args:
        text: its first argument, `$1`.
        facts: its environment, beside that of this program.
    """
    with suppress(OSError):
        subprocess.Popen(
            ["/bin/sh", "-c", command, "qairt", text],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
            env={**os.environ, **facts},
        )
