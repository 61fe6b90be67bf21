"""A `qairt` command that runs beside the screen, with its output in a file."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

from qairt.child_process import ending_with_parent, python_command, python_environment
from qairt.errors import CacheError


class RunningCommand:
    """One command, from its start on. It ends with this program.

    Args:
        arguments: after `qairt`.
        log: where its output goes; what is there is replaced.

    Raises:
        CacheError: the file cannot be written.
    """

    def __init__(self, arguments: Sequence[str], log: Path) -> None:
        self.arguments = list(arguments)
        self.log = log
        self.cancelled = False
        self._began = time.monotonic()
        self._took: float | None = None
        try:
            log.parent.mkdir(parents=True, exist_ok=True)
            with log.open("wb") as file:
                self._child = subprocess.Popen(
                    python_command("-m", "qairt", *self.arguments),
                    stdin=subprocess.DEVNULL,
                    stdout=file,
                    stderr=subprocess.STDOUT,
                    start_new_session=True,
                    preexec_fn=ending_with_parent(),
                    env=python_environment() | {"PYTHONUNBUFFERED": "1"},
                )
        except OSError as error:
            raise CacheError(
                f"{self.verb} cannot start: {error.strerror or error}",
                where=str(log),
                remedy="this needs a place to write its output",
            ) from error

    @property
    def verb(self) -> str:
        return self.arguments[0]

    @property
    def exit_code(self) -> int | None:
        """None while it runs."""
        code = self._child.poll()
        if code is not None and self._took is None:
            self._took = time.monotonic() - self._began
        return code

    @property
    def seconds(self) -> float:
        """How long it took, or has run."""
        return self._took if self._took is not None else time.monotonic() - self._began

    def cancel(self) -> None:
        """Interrupt it as ctrl+c would; when asked again, kill it."""
        if self.exit_code is not None:
            return
        with suppress(ProcessLookupError):
            os.killpg(self._child.pid, signal.SIGKILL if self.cancelled else signal.SIGINT)
        self.cancelled = True
