"""Machines by ssh, through the installed OpenSSH: the user's configuration, keys, agents and jump hosts hold.

Linux on Arm, and Windows on Arm where Git for Windows gives it a `sh`.

One connection serves all commands of a device: OpenSSH's own sharing (ControlMaster) in a folder that is gone with it.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import tempfile
import weakref
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import IO

import psutil

from qairt.device.base import Finished, Output, Sent
from qairt.errors import DeviceError, ToolchainNotAvailable

_LOST = 255
"""ssh's own exit code; also what it makes of a command that a signal ended, and what the command itself may return."""
_NO_QUESTIONS = ["-o", "BatchMode=yes"]
_SHARING = "qairt-ssh-"
"""Prefix of the folders of shared connections; the number of their process follows."""
_TO_END_S = 10.0
_PIECE = 64 * 1024
_ENDED = re.compile(rb"qairt: ended (\d+)\n\Z")
"""The last line of the errors of a command that ran to its end."""
_FIRST = """case $(uname -s) in MINGW*|MSYS*) find() { /usr/bin/find "$@"; };; esac\n"""
"""On Windows, Git's own `find` and not the system's."""

_CUT = re.compile(r"lost connection|Connection closed|Connection reset|Broken pipe|client_loop: ", re.IGNORECASE)
"""Said by scp when the connection ends under it."""
_FAULTS = (
    (
        r"REMOTE HOST IDENTIFICATION HAS CHANGED",
        "it has another host key than the last time",
        "if it was set up anew: `ssh-keygen -R HOST`, then `ssh HOST` once; else somebody may be in between",
    ),
    (
        r"Host key verification failed|host key is known",
        "its host key is not known here",
        "`ssh HOST` once by hand, and compare the key that it shows",
    ),
    (
        r"Permission denied|Too many authentication failures|No supported authentication",
        "it does not let this user in",
        "check the user's name (USER@HOST) and key: `ssh HOST` must work; `ssh-copy-id HOST` puts your key there",
    ),
    (r"Could not resolve hostname", "there is no such host", "check the name; `ssh HOST` must work"),
    (r"Connection refused", "nothing listens there", "start its ssh server, or give its port in ~/.ssh/config"),
    (r"timed out|No route to host|Network is unreachable", "it does not answer", "check the network and the address"),
)


class SshHost:
    """A machine that `ssh` reaches."""

    def __init__(self, host: str) -> None:
        """
        Args:
            host: `USER@HOST`, or a name of the user's ssh configuration.
        """
        self.host = host
        self.name = f"ssh host {host}"
        _remove_left_behind()
        self._sharing = tempfile.mkdtemp(prefix=f"{_SHARING}{os.getpid()}-")
        self._options = [
            *("-o", "ControlMaster=auto"),
            *("-o", f"ControlPath={self._sharing}/%C"),
            *("-o", "ControlPersist=60"),
            *("-o", "ConnectTimeout=15"),
            *("-o", "ServerAliveInterval=20"),
        ]
        self._close = weakref.finalize(self, _end_sharing, self._sharing, [*self._options, "-O", "exit", host])
        # Questions go to the terminal; without one there is nobody to answer.
        self._asking = [] if sys.stdin.isatty() else _NO_QUESTIONS

    def push(self, files: Mapping[str, Path], folder: str, *, sent: Sent) -> None:
        for name, source in files.items():
            # Not a pipe: a shared connection that scp may open keeps it, and it would not end before that does.
            with tempfile.TemporaryFile() as errors:
                code = subprocess.run(
                    ["scp", "-q", "-p", *self._options, *self._asking, str(source), f"{self.host}:{folder}/{name}"],
                    stdin=subprocess.DEVNULL,
                    stdout=subprocess.DEVNULL,
                    stderr=errors,
                    check=False,
                ).returncode
                errors.seek(0)
                said = errors.read().decode(errors="replace")
            if code:
                if _CUT.search(said):
                    raise self._broken(said)
                raise self._fault(said) or DeviceError(
                    f"{folder}/{name} cannot be written: {_last(said) or f'scp ended with {code}'}",
                    where=self.name,
                    remedy="check its storage and the permissions there; what was sent whole is not sent again",
                )
            sent(source.stat().st_size)

    def run(self, command: str, *, output: Output | None = None) -> Finished:
        with (
            tempfile.TemporaryFile() as errors,
            _as_input(command) as script,
            subprocess.Popen(
                ["ssh", "-T", *self._options, *self._asking, self.host, "sh -s"],
                stdin=script,
                stdout=subprocess.PIPE,
                stderr=errors,
            ) as child,
        ):
            try:
                assert child.stdout is not None
                out = _read(child.stdout, output)
                code = child.wait()
            except BaseException:
                child.kill()
                raise
            errors.seek(0)
            err = errors.read()
        ended = _ENDED.search(err)
        if ended is not None:
            return Finished(int(ended[1]), out, err[: ended.start()])
        if code == _LOST:
            said = err.decode(errors="replace")
            raise self._fault(said) or self._broken(said)
        return Finished(code, out, err)

    def close(self) -> None:
        """End the shared connection; else it ends with this object, or the process."""
        self._close()

    def _broken(self, said: str) -> DeviceError:
        return DeviceError(
            f"the connection broke: {_last(said) or 'ssh says nothing'}",
            where=self.name,
            remedy="check the network, then run the same again; what was sent whole is not sent again",
        )

    def _fault(self, said: str) -> DeviceError | None:
        """What ssh itself complains of; None where it is something else."""
        for pattern, what, remedy in _FAULTS:
            match = re.search(pattern, said)
            if match is not None and not re.search(rf"^scp: .*(?:{pattern})", said, re.MULTILINE):
                return DeviceError(f"{what}: {_line(said, match)}", where=self.name, remedy=remedy)
        return None


def find_host(wanted: str | None) -> SshHost:
    """
    Raises:
        DeviceError: none is named.
        ToolchainNotAvailable: OpenSSH is not installed.
    """
    if not wanted or wanted.startswith("-"):
        raise DeviceError(
            "which machine?" if not wanted else f"{wanted!r} is not a host",
            where="--target ssh",
            remedy="say it as for ssh: --device USER@HOST, or a name of ~/.ssh/config",
        )
    missing = [tool for tool in ("ssh", "scp") if shutil.which(tool) is None]
    if missing:
        raise ToolchainNotAvailable(
            f"{' and '.join(missing)} cannot be found", where="--target ssh", remedy="install the OpenSSH client"
        )
    return SshHost(wanted)


def _end_sharing(folder: str, words: Sequence[str]) -> None:
    if os.path.isdir(folder) and os.listdir(folder):
        with suppress(OSError, subprocess.TimeoutExpired):
            quiet = subprocess.DEVNULL
            subprocess.run(["ssh", *words], stdin=quiet, stdout=quiet, stderr=quiet, timeout=_TO_END_S, check=False)
    shutil.rmtree(folder, ignore_errors=True)


def _remove_left_behind() -> None:
    """Remove the folders of processes that were killed. Their connections end by themselves, see ControlPersist."""
    for folder in Path(tempfile.gettempdir()).glob(f"{_SHARING}*"):
        pid = re.match(r"(\d+)-", folder.name.removeprefix(_SHARING))
        if pid is not None and not psutil.pid_exists(int(pid[1])):
            shutil.rmtree(folder, ignore_errors=True)


def _as_input(command: str) -> IO[bytes]:
    """A command for `sh -s`: whatever shell a user has there, it need not understand our quotes.

    It is read whole before it runs, in a subshell; the shell around it says how it ended, for ssh's exit code may be
    its own.
    """
    script = tempfile.TemporaryFile()  # noqa: SIM115 - whoever asks closes it
    said_at_the_end = """code=$?; echo "qairt: ended $code" >&2; exit $code"""
    script.write(f"{_FIRST}{{\n(\n{command}\n)\n{said_at_the_end}\n}}\n".encode())
    script.seek(0)
    return script


def _read(pipe: IO[bytes], output: Output | None) -> bytes:
    kept = bytearray()
    while data := os.read(pipe.fileno(), _PIECE):
        if output is not None:
            output(data)
        else:
            kept += data
    return bytes(kept)


def _line(said: str, match: re.Match[str]) -> str:
    start = said.rfind("\n", 0, match.start()) + 1
    return said[start:].splitlines()[0].strip(" @")


def _last(said: str) -> str:
    lines = [line.strip() for line in said.splitlines() if line.strip()]
    return lines[-1] if lines else ""
