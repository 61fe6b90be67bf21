"""A machine whose speed was measured before, so that the first run of a test does not take a second for it."""

from __future__ import annotations

import json
import socket
from pathlib import Path


def keep_speed(config_home: Path, **speeds: float) -> Path:
    """Write it where `XDG_CONFIG_HOME` is `config_home`; 1 where no speed is given."""
    path = config_home / "qairt" / "machine-speed.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps({socket.gethostname(): {"one_core": 1.0, "all_cores": 1.0} | speeds}))
    return path
