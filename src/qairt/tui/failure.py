"""When the screen itself fails: the traceback goes to a file, which is named once the terminal is restored."""

from __future__ import annotations

import os
import time
import traceback
from pathlib import Path


def failure_file() -> Path:
    """Where tracebacks of the screen are kept."""
    state = os.environ.get("XDG_STATE_HOME") or "~/.local/state"
    return Path(os.path.expanduser(state)) / "qairt" / "tui.log"


def note_failure(error: BaseException) -> str:
    """Keep the traceback; returns a sentence that names the error and the file."""
    path = failure_file()
    what = f"{type(error).__name__}: {error}"
    lines = traceback.format_exception(error)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("a") as file:
            file.write(time.strftime("%Y-%m-%d %H:%M:%S\n") + "".join(lines) + "\n")
    except OSError as problem:
        return f"the screen failed: {what} (its traceback could not be kept in {path}: {problem.strerror})"
    return f"the screen failed: {what}; its traceback is in {path}"
