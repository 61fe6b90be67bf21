"""The folders of a user's own settings, and of what qairt remembers about this user's work on this machine."""

from __future__ import annotations

import os
from pathlib import Path


def config_folder() -> Path:
    """`$XDG_CONFIG_HOME/qairt`: settings, themes, and which SDKs are trusted."""
    return _below("XDG_CONFIG_HOME", "~/.config")


def state_folder() -> Path:
    """`$XDG_STATE_HOME/qairt`: where runs are, what was copied last, tracebacks of the screen."""
    return _below("XDG_STATE_HOME", "~/.local/state")


def _below(variable: str, default: str) -> Path:
    return Path(os.path.expanduser(os.environ.get(variable) or default)) / "qairt"
