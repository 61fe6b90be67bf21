"""The child that holds Genie: started, asked, listened to, ended, and what its libraries said about it."""

from __future__ import annotations

import json
import os
import re
import select
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any

from qairt.errors import ToolchainError
from qairt.toolchain.vendor_process import end

_NOISE = re.compile(
    r"^\s*$|^\s*# LIBNATIVE|CreateHtpPowerConfigId|Failed to create HTP power config|^\[(INFO|DEBUG|VERBOSE)\]"
    r"|Note: Dimensions denoted by|dump-specs=true|^warn: failed to set affinity mask"
)
"""Said in every dialog, or of options that a config of ours has not, or of this machine's cores."""
_MARK = re.compile(r'^\[(?:ERROR|WARN|WARNING)\]\s+"(.*)"$')
_NAMED = {signal.SIGKILL: "SIGKILL, most often because the machine ran out of memory"}


class GenieProcess:
    """One child. Everything it says goes to a file; nothing reaches the user's screen by itself."""

    def __init__(self, libraries: Path, folder: Path | None) -> None:
        """
        Args:
            libraries: the folder of `libGenie.so` and what it loads.
            folder: where relative paths of a config begin; the working directory when None.
        """
        self._log: IO[bytes] = tempfile.TemporaryFile(prefix="qairt-genie-")  # noqa: SIM115
        self._read_to = 0
        self._buffered = b""
        self._owes = False
        searched = [str(libraries), *filter(None, [os.environ.get("LD_LIBRARY_PATH")])]
        self._child = subprocess.Popen(
            [sys.executable, "-B", str(Path(__file__).with_name("child.py")), str(libraries)],
            cwd=folder,
            env=os.environ | {"LD_LIBRARY_PATH": os.pathsep.join(searched)},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._log,
            start_new_session=True,
        )
        self.pid = self._child.pid

    def ask(self, **words: Any) -> None:
        """Put a question; what is left of the last one's answer is waited for and lost.

        Raises:
            ToolchainError: it has died.
        """
        assert self._child.stdin is not None
        if self._owes:
            self.status()
        self._owes = True
        try:
            self._child.stdin.write(json.dumps(words).encode() + b"\n")
            self._child.stdin.flush()
        except BrokenPipeError:
            raise self.failed(self._died()) from None

    def answers(self, timeout_s: float | None = None) -> Iterator[dict[str, Any]]:
        """What it says, up to and with the line that has a status.

        Raises:
            ToolchainError: it died, or said nothing for `timeout_s` seconds and was ended.
        """
        while True:
            answer = json.loads(self._line(timeout_s))
            self._owes = "status" not in answer
            yield answer
            if not self._owes:
                return

    def status(self, timeout_s: float | None = None) -> dict[str, Any]:
        """Its last answer, the one with the status; see `answers`."""
        *_, last = self.answers(timeout_s)
        return last

    def complaints(self) -> list[str]:
        """What the libraries printed since this was asked last, without what they always print."""
        said = os.fstat(self._log.fileno()).st_size - self._read_to
        text = os.pread(self._log.fileno(), said, self._read_to)  # a seek would move where the child writes
        self._read_to += len(text)
        lines = [line for line in text.decode(errors="replace").splitlines() if not _NOISE.search(line)]
        return list(dict.fromkeys(_MARK.sub(r"\1", line.strip()).strip() for line in lines))

    def failed(self, what: str, *, remedy: str | None = None) -> ToolchainError:
        """An error that tells what the libraries said."""
        said = "; ".join(self.complaints())
        return ToolchainError(f"{what}: {said}" if said else what, where="Genie", remedy=remedy)

    def close(self) -> None:
        """End it, whatever it does."""
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
                raise self.failed(f"no answer after {timeout_s:.0f} s, so its process was ended")
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
        return f"died by signal {-code} ({_NAMED.get(number, number.name)})"
