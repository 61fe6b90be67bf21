"""Running a program of the vendor's: in a folder of its own, what it says passed on as it comes."""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from qairt.errors import ToolchainError
from qairt.toolchain.vendor_errors import explain

_ERROR = re.compile(r"\[E:onnxruntime|ERROR|\bQNN_\w*ERROR\w*|\b[Ee]rror:|^\w*(?:Error|Exception)\b")
_NOISE = re.compile("CreateHtpPowerConfigId")
"""On x86 every session says this; there is no power to configure."""
_COLOUR = re.compile(r"\x1b\[[0-9;]*[A-Za-z]")
_LONGEST = 240


@dataclass(frozen=True)
class Ended:
    """How a program ended."""

    code: int
    """Negative when a signal ended it."""
    lines: list[str]
    """What it printed, to either stream."""

    @property
    def signal(self) -> str | None:
        """`SIGSEGV`, where it died of one."""
        return signal.Signals(-self.code).name if self.code < 0 else None


@contextmanager
def workplace(parent: Path, prefix: str = ".qnn-") -> Iterator[Path]:
    """A folder for one job, gone afterwards."""
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
    heard: Callable[[str], None] = lambda line: None,
) -> Ended:
    """Run `command`; what it prints goes to this process's stderr as it comes, and line by line to `heard`.

    Args:
        env: its whole environment; nothing of this process's is added.

    Raises:
        OSError: it cannot be started.
    """
    lines: list[str] = []
    child = subprocess.Popen(
        command, cwd=cwd, env=dict(env), stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT
    )
    try:
        assert child.stdout is not None
        with child.stdout:
            for raw in child.stdout:
                os.write(2, raw)
                lines.append(raw.decode(errors="replace").rstrip())
                heard(lines[-1])
        return Ended(child.wait(), lines)
    except BaseException:
        child.kill()
        child.wait()
        raise


def end(child: subprocess.Popen[bytes], *files: IO[bytes] | None) -> None:
    """End a child that is asked things, whatever it does, and close its pipes and these files."""
    child.kill()
    child.wait()
    for file in (child.stdin, child.stdout, *files):
        try:
            if file is not None:
                file.close()
        except BrokenPipeError:  # bytes it never read
            pass


def failure(who: str, ended: Ended, *, where: str, message: str = "") -> ToolchainError:
    """What went wrong with a program that failed, in words of the table of vendor errors where one of its rows fits.

    Args:
        who: `the QNN compiler`, `qairt-converter`.
        where: what it was to make.
        message: what it gave as its reason, if it gave one other than by printing.
    """
    explained = explain([*ended.lines, *message.splitlines()])
    cause = f"{explained.error.cause} ({_short(explained.line)})" if explained else ""
    if ended.signal is not None:
        return ToolchainError(
            f"{who} died of {ended.signal}" + (f": {cause}" if cause else ""),
            where=where,
            remedy=explained.error.remedy
            if explained
            else "its last words are in the item's log; SIGKILL is mostly a lack of memory: use a smaller --jobs, or "
            "more splits",
        )
    if explained:
        return ToolchainError(f"{who} failed: {cause}", where=where, remedy=explained.error.remedy)
    if not message:
        told = [line for line in ended.lines if _ERROR.search(line) and not _NOISE.search(line)]
        message = _short(told[-1]) if told else f"exit code {ended.code} without a message"
    return ToolchainError(f"{who} failed: {message}", where=where, remedy="see the item's log")


def _short(line: str) -> str:
    """Without colours, and no longer than a line of a screen or two."""
    plain = "".join(char for char in _COLOUR.sub("", line) if char.isprintable()).strip()
    return plain if len(plain) <= _LONGEST else plain[: _LONGEST - 1] + "…"
