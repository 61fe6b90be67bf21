"""What qairt asks of a device: take files, run a command."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

Output = Callable[[bytes], None]
"""Told what a command writes to its standard output, as it comes."""

Sent = Callable[[int], None]
"""Told how many more bytes have gone over."""


@dataclass(frozen=True)
class Finished:
    """A command that has ended."""

    code: int
    """128 + N where signal N ended it."""
    out: bytes
    err: bytes

    @property
    def text(self) -> str:
        return self.out.decode(errors="replace")


class Device(Protocol):
    """A machine to run on. Both methods raise `DeviceError` when it cannot be reached, or is lost meanwhile."""

    @property
    def name(self) -> str:
        """How errors and progress call it: `adb device 4f2a`."""
        ...

    def push(self, files: Mapping[str, Path], folder: str, *, sent: Sent) -> None:
        """Write local files into an existing folder, under these names.

        A connection that breaks leaves the file that was being written in any state: whoever pushes compares before it
        is used, see `qairt.device.delivery`.

        Raises:
            DeviceError: a file cannot be written there; names it.
        """
        ...

    def run(self, command: str, *, output: Output | None = None) -> Finished:
        """Run a command in the device's shell, without input, and wait for its end.

        Args:
            command: for `sh`.
            output: gets standard output as it comes; the result then does not hold it.
        """
        ...


def silent(count: int) -> None:
    """A `Sent` that tells nobody."""
