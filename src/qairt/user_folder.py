"""The folder of a user's own settings."""

from __future__ import annotations

import os
from pathlib import Path


def config_folder() -> Path:
    """`$XDG_CONFIG_HOME/qairt`: settings, themes, and which SDKs are trusted."""
    config = os.environ.get("XDG_CONFIG_HOME") or "~/.config"
    return Path(os.path.expanduser(config)) / "qairt"
