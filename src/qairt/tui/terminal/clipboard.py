"""Copying: to the terminal's clipboard (OSC 52), and always to a file, since many terminals take no OSC 52."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from textual.app import App

CAP = 74_994
"""Bytes of UTF-8 text; terminals drop longer OSC 52 sequences whole."""


def clipboard_file() -> Path:
    """Where what was copied last is kept."""
    state = os.environ.get("XDG_STATE_HOME") or "~/.local/state"
    return Path(os.path.expanduser(state)) / "qairt" / "clipboard.txt"


def copy(app: App[Any], text: str) -> str:
    """Copy `text`, and say in one sentence how far that went. Never raises.

    The terminal gets at most `CAP` bytes of it; the file gets all.
    """
    app.copy_to_clipboard(_cut(text))
    size = len(text.encode(errors="replace"))
    said = f"copied {len(text)} character{'' if len(text) == 1 else 's'}"
    if size > CAP:
        said = f"copied the first {CAP} of {size} bytes"
    said += _keep(text, all_of_it=size > CAP)
    if os.environ.get("TMUX"):
        said += "; tmux passes it on after: set -g set-clipboard on"
    return said


def _cut(text: str) -> str:
    return text.encode(errors="replace")[:CAP].decode(errors="ignore")


def _keep(text: str, *, all_of_it: bool) -> str:
    file = clipboard_file()
    shown = str(file)
    home = os.path.expanduser("~")
    if home != "/" and shown.startswith(home + os.sep):
        shown = "~" + shown[len(home) :]
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text, encoding="utf-8", errors="replace")
        file.chmod(0o600)
    except OSError as fault:
        return f"; not in a file: {shown}: {fault.strerror or fault}"
    return f"; {'all of it is' if all_of_it else 'also'} in {shown}"
