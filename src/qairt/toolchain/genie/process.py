"""The child process that runs Genie: its requests, its replies, and the output of its libraries."""

from __future__ import annotations

import json
import os
import re
import select
import signal
import subprocess
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import IO, TYPE_CHECKING

from qairt.child_process import python_command, python_environment
from qairt.errors import ToolchainError
from qairt.toolchain.vendor_process import end

if TYPE_CHECKING:
    from qairt.toolchain.genie.child import Reply

_NOISE = re.compile(
    r"^\s*$|^\s*# LIBNATIVE|CreateHtpPowerConfigId|Failed to create HTP power config|^\[(INFO|DEBUG|VERBOSE)\]"
    r"|Note: Dimensions denoted by|dump-specs=true|^warn: failed to set affinity mask"
)
"""Printed in every dialog, or about options that our configurations do not have, or about this machine's cores."""
_MARK = re.compile(r'^\[(?:ERROR|WARN|WARNING)\]\s+"(.*)"$')
_SIGNALS = {signal.SIGKILL: "SIGKILL, most often because the machine ran out of memory"}


class GenieProcess:
    """One child. Its output goes to a file, never to the user's screen."""

    def __init__(self, libraries: Path, folder: Path | None) -> None:
        """
        Args:
            libraries: the folder of `libGenie.so` and the libraries it loads.
            folder: the base of relative paths in a configuration; the working directory when None.
        """
        self._log: IO[bytes] = tempfile.TemporaryFile(prefix="qairt-genie-")  # noqa: SIM115
        self._read_to = 0
        self._buffered = b""
        self._is_replying = False
        search_path = [str(libraries), *filter(None, [os.environ.get("LD_LIBRARY_PATH")])]
        self._child = subprocess.Popen(
            python_command("-B", str(Path(__file__).with_name("child.py")), str(libraries)),
            cwd=folder,
            env=python_environment() | {"LD_LIBRARY_PATH": os.pathsep.join(search_path)},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._log,
            start_new_session=True,
        )
        self.pid = self._child.pid

    def request(self, **fields: object) -> None:
        """Send a request (see `child`), after dropping the rest of the previous reply.

        Raises:
            ToolchainError: the process has died.
        """
        assert self._child.stdin is not None
        if self._is_replying:
            self.status()
        self._is_replying = True
        try:
            self._child.stdin.write(json.dumps(fields).encode() + b"\n")
            self._child.stdin.flush()
        except BrokenPipeError:
            raise self.failed(self._died()) from None

    def replies(self, timeout_s: float | None = None) -> Iterator[Reply]:
        """The lines of the reply, up to and including the one with a status.

        Raises:
            ToolchainError: the process died, or sent nothing for `timeout_s` seconds and was killed.
        """
        while True:
            reply: Reply = json.loads(self._line(timeout_s))
            self._is_replying = "status" not in reply
            yield reply
            if not self._is_replying:
                return

    def status(self, timeout_s: float | None = None) -> Reply:
        """The last line of the reply, the one with the status; see `replies`."""
        *_, last = self.replies(timeout_s)
        return last

    def complaints(self) -> list[str]:
        """The libraries' output since the previous call, without what they always print."""
        unread = os.fstat(self._log.fileno()).st_size - self._read_to
        text = os.pread(self._log.fileno(), unread, self._read_to)  # a seek would move where the child writes
        self._read_to += len(text)
        lines = [line for line in text.decode(errors="replace").splitlines() if not _NOISE.search(line)]
        return list(dict.fromkeys(_MARK.sub(r"\1", line.strip()).strip() for line in lines))

    def failed(self, what: str, *, remedy: str | None = None) -> ToolchainError:
        """An error with the libraries' output."""
        output = "; ".join(self.complaints())
        return ToolchainError(f"{what}: {output}" if output else what, where="Genie", remedy=remedy)

    def close(self) -> None:
        """Kill the process."""
        end(self._child, self._log)

    def _line(self, timeout_s: float | None) -> bytes:
        assert self._child.stdout is not None
        handle = self._child.stdout.fileno()
        deadline = None if timeout_s is None else time.monotonic() + timeout_s
        while b"\n" not in self._buffered:
            left = None if deadline is None else max(deadline - time.monotonic(), 0)
            if not select.select([handle], [], [], left)[0]:
                self._child.kill()
                self._child.wait()
                raise self.failed(f"no reply after {timeout_s:.0f} s, so its process was killed")
            data = os.read(handle, 1 << 16)
            if not data:
                raise self.failed(self._died())
            self._buffered += data
        line, _, self._buffered = self._buffered.partition(b"\n")
        return line

    def _died(self) -> str:
        code = self._child.wait()
        if code >= 0:
            return f"its process ended with code {code}"
        number = signal.Signals(-code)
        return f"died by signal {-code} ({_SIGNALS.get(number, number.name)})"
