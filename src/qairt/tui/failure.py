"""When the app itself fails: the traceback goes to a file, which is named once the terminal is restored."""

from __future__ import annotations

import time
import traceback
from pathlib import Path

from qairt.user_folder import state_folder


def failure_file() -> Path:
    """Where tracebacks of the app are kept."""
    return state_folder() / "tui.log"


def write_traceback(error: BaseException) -> str:
    """Append the traceback to the file; returns a sentence that names the error and the file."""
    path = failure_file()
    what = f"{type(error).__name__}: {error}"
    lines = traceback.format_exception(error)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("a", encoding="utf-8") as file:
            file.write(time.strftime("%Y-%m-%d %H:%M:%S\n") + "".join(lines) + "\n")
    except OSError as problem:
        return f"the screen failed: {what} (the traceback could not be written to {path}: {problem.strerror})"
    return f"the screen failed: {what}; the traceback is in {path}"
