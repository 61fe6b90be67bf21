"""Copying to the terminal's clipboard (OSC 52), and always to a file, since many terminals ignore OSC 52."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Protocol

from qairt.user_folder import state_folder

CAP = 74_994
"""Bytes of UTF-8 text; terminals ignore longer OSC 52 sequences."""


class Clipboard(Protocol):
    """The part of a Textual app that copies."""

    def copy_to_clipboard(self, text: str) -> None:
        """Send `text` to the terminal's clipboard."""


def clipboard_file() -> Path:
    """The file that holds the last copied text."""
    return state_folder() / "clipboard.txt"


def copy(app: Clipboard, text: str) -> str:
    """Copy `text`; returns a sentence with the outcome. Never raises.

    The terminal gets at most `CAP` bytes, the file all of them.
    """
    app.copy_to_clipboard(_cut(text))
    size = len(text.encode(errors="replace"))
    outcome = f"copied {len(text)} character{'' if len(text) == 1 else 's'}"
    if size > CAP:
        outcome = f"copied the first {CAP} of {size} bytes"
    outcome += _save(text, is_cut=size > CAP)
    if os.environ.get("TMUX"):
        outcome += "; in tmux this needs: set -g set-clipboard on"
    return outcome


def _cut(text: str) -> str:
    return text.encode(errors="replace")[:CAP].decode(errors="ignore")


def _save(text: str, *, is_cut: bool) -> str:
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
        return f"; not saved to {shown}: {fault.strerror or fault}"
    return f"; {'the full text is' if is_cut else 'also'} in {shown}"
