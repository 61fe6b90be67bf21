"""Running the vendor's programs: each in its own folder, its output passed on as it arrives."""

from __future__ import annotations

import os
import re
import select
import shutil
import signal
import subprocess
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from qairt.child_process import ending_with_parent
from qairt.errors import ToolchainError
from qairt.toolchain.vendor_errors import HOST_MEMORY, explain

_ERROR = re.compile(r"\[E:onnxruntime|ERROR|\bQNN_\w*ERROR\w*|\b[Ee]rror:|^\w*(?:Error|Exception)\b")
_NOISE = re.compile("CreateHtpPowerConfigId")
"""Printed by every session on x86, where there is no power to configure."""
_COLOUR = re.compile(r"\x1b\[[0-9;]*[A-Za-z]")
_MAX_LENGTH = 240
_ENDED_POLL_S = 0.2


@dataclass(frozen=True)
class ProcessExit:
    """How a program ended."""

    code: int
    """Negative when a signal ended it."""
    lines: list[str]
    """Its output on either stream."""

    @property
    def signal(self) -> str | None:
        """The signal that ended it, such as `SIGSEGV`."""
        return signal.Signals(-self.code).name if self.code < 0 else None


@contextmanager
def job_folder(parent: Path, prefix: str = ".qnn-") -> Iterator[Path]:
    """A folder for one job, removed afterwards."""
    parent.mkdir(parents=True, exist_ok=True)
    folder = Path(tempfile.mkdtemp(dir=parent, prefix=prefix))
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def run(
    command: Sequence[str],
    *,
    cwd: Path,
    env: Mapping[str, str],
    on_line: Callable[[str], None] = lambda line: None,
) -> ProcessExit:
    """Run `command`; its output goes to this process's stderr as it arrives, and line by line to `on_line`.

    Args:
        env: its whole environment; nothing of this process's is added.

    Raises:
        OSError: it cannot be started.
    """
    lines: list[str] = []
    child = subprocess.Popen(
        command,
        cwd=cwd,
        env=dict(env),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        preexec_fn=ending_with_parent(),
    )
    try:
        assert child.stdout is not None
        with child.stdout:
            for raw in _lines_of(child, child.stdout):
                os.write(2, raw)
                lines.append(raw.decode(errors="replace").rstrip())
                on_line(lines[-1])
        return ProcessExit(child.wait(), lines)
    except BaseException:
        child.kill()
        child.wait()
        raise


def _lines_of(child: subprocess.Popen[bytes], output: IO[bytes]) -> Iterator[bytes]:
    """The lines that a child writes until it ends. What it started may keep its output open: that is not waited for."""
    unfinished = b""
    while True:
        ended = child.poll() is not None  # before looking: what it wrote until then is found below
        if select.select([output], [], [], _ENDED_POLL_S)[0]:
            data = os.read(output.fileno(), 1 << 16)
            if not data:
                break
            *whole, unfinished = (unfinished + data).split(b"\n")
            yield from (line + b"\n" for line in whole)
        elif ended:
            break
    if unfinished:
        yield unfinished


def end(child: subprocess.Popen[bytes], *files: IO[bytes] | None) -> None:
    """Kill a child that answers requests, and close its pipes and these files."""
    with suppress(ProcessLookupError, AttributeError):  # it leads its group
        os.killpg(child.pid, signal.SIGKILL)
    child.kill()
    child.wait()
    for file in (child.stdin, child.stdout, *files):
        try:
            if file is not None:
                file.close()
        except BrokenPipeError:  # unread bytes
            pass


def failure(program: str, ended: ProcessExit, *, where: str, message: str = "") -> ToolchainError:
    """The error for a program that failed, explained by the table of vendor errors where a row matches.

    Args:
        program: `the QNN compiler`, `qairt-converter`.
        where: the artifact it was to make.
        message: the reason it reported other than in its output, if any.
    """
    explained = explain([*ended.lines, *message.splitlines()])
    cause = f"{explained.error.cause} ({_short(explained.line)})" if explained else ""
    if ended.signal is not None:
        killed = ToolchainError(
            f"{program} was killed by {ended.signal}" + (f": {cause}" if cause else ""),
            where=where,
            remedy=explained.error.remedy
            if explained
            else "see the item's log; SIGKILL usually means that memory ran out: lower --jobs, or raise num_splits",
        )
        killed.out_of_memory = ended.signal == "SIGKILL"
        return killed
    if explained:
        failed = ToolchainError(f"{program} failed: {cause}", where=where, remedy=explained.error.remedy)
        failed.out_of_memory = explained.error.name == HOST_MEMORY
        return failed
    if not message:
        errors = [line for line in ended.lines if _ERROR.search(line) and not _NOISE.search(line)]
        message = _short(errors[-1]) if errors else f"exit code {ended.code} without a message"
    return ToolchainError(f"{program} failed: {message}", where=where, remedy="see the item's log")


def _short(line: str) -> str:
    """Without colours, at most a line or two of a screen."""
    plain = "".join(char for char in _COLOUR.sub("", line) if char.isprintable()).strip()
    return plain if len(plain) <= _MAX_LENGTH else plain[: _MAX_LENGTH - 1] + "…"
