"""adb's host protocol: requests to the adb server, and through it to a device's shell and file service.

Source: the documents SERVICES.TXT, SYNC.TXT and shell_service.h of Android's adb. A request is four hexadecimal digits
with its length, then its text; the answer is OKAY, or FAIL with a text of the same form.
"""

from __future__ import annotations

import select
import socket
import struct
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from qairt.device.base import Finished, Output, Sent
from qairt.errors import DeviceError
from qairt.files import open_regular

CHUNK = 64 * 1024
"""The most bytes of one DATA message."""
_SECONDS = 20.0
"""How long the server may take to answer a request; what runs on the device may take any time."""
_SILENCE = 30.0
"""After so long without output it is asked whether the device is still there."""
_STALLED = 120.0
"""How long a file may not go on; what the server holds back for a slow device has to go over meanwhile."""
_LONGEST = 0xFFFF
"""Bytes of a request."""

_OUT, _ERR, _EXIT = 1, 2, 3
_MODE = 0o100755


class RefusedError(DeviceError):
    """The adb server, or the device, answered FAIL."""


class Link:
    """One connection to the adb server; it serves one request, or one service of a device."""

    def __init__(self, host: str, port: int) -> None:
        """
        Raises:
            OSError: nobody listens there.
        """
        self._socket = socket.create_connection((host, port), timeout=_SECONDS)
        self._where = f"adb server {host}:{port}"
        self._is_adb = False
        """Whether it has answered as an adb server does."""

    def __enter__(self) -> Link:
        return self

    def __exit__(self, *_: object) -> None:
        self._socket.close()

    def ask(self, request: str) -> None:
        """Send a request and read its OKAY.

        Raises:
            RefusedError: the answer is FAIL; says why.
            DeviceError: the connection is lost.
        """
        text = request.encode()
        if len(text) > _LONGEST:
            raise DeviceError(
                f"a command of {len(text):,} bytes is too long for adb", where=self._where, remedy="use shorter paths"
            )
        self.send(b"%04x" % len(text) + text)
        status = self.read(4)
        if status not in (b"OKAY", b"FAIL"):
            raise self._stranger(f"the answer {status!r} is not that of an adb server")
        self._is_adb = True
        if status == b"FAIL":
            raise RefusedError(self._text(), where=self._where)

    def answer(self, request: str) -> str:
        """A request that is answered by a text."""
        self.ask(request)
        return self._text()

    def _text(self) -> str:
        length = self.read(4)
        try:
            count = int(length, 16)
        except ValueError as error:
            raise self._stranger(f"the answer {length!r} is not that of an adb server") from error
        return self.read(count).decode(errors="replace")

    def _stranger(self, what: str) -> DeviceError:
        return DeviceError(
            what,
            where=self._where,
            remedy="another program listens there: set ANDROID_ADB_SERVER_PORT, or give SERIAL@HOST:PORT",
        )

    def send(self, data: bytes) -> None:
        try:
            self._socket.sendall(data)
        except OSError as error:
            raise self._lost(error) from error

    def read(self, count: int, silent: Callable[[], None] | None = None) -> bytes:
        """Exactly so many bytes.

        Args:
            silent: asked each time that nothing came for long; waiting ends when it raises, or when it is None.
        """
        data = bytearray()
        while len(data) < count:
            try:
                more = self._socket.recv(count - len(data))
            except OSError as error:
                if silent is None or not isinstance(error, TimeoutError):
                    raise self._lost(error) from error
                silent()
                continue
            if not more:
                raise self._lost()
            data += more
        return bytes(data)

    def _lost(self, error: OSError | None = None) -> DeviceError:
        if not self._is_adb:
            seen = f"nothing in {_SECONDS:.0f} s" if isinstance(error, TimeoutError) else "the connection is closed"
            return self._stranger(f"no adb server answers: {seen}")
        if isinstance(error, TimeoutError):
            what, remedy = "the device does not answer", "restart it, or `adb reconnect`, then run the same again"
        else:
            what, remedy = "the connection to the device broke", "check the cable, then run the same again"
        return DeviceError(what, where=self._where, remedy=remedy)

    def shell(self, command: str, output: Output | None, silent: Callable[[], None]) -> Finished:
        """Run a command by the shell protocol, version 2: output and errors apart, and the exit code.

        Args:
            silent: asked each time that the command wrote nothing for long; raises where the device is gone.

        Raises:
            DeviceError: the connection ended before the command did.
        """
        self.ask(f"shell,v2,raw:{command}")
        self._socket.settimeout(_SILENCE)
        self.send(struct.pack("<BI", 4, 0))  # no more input
        out, err = bytearray(), bytearray()
        while True:
            kind, length = struct.unpack("<BI", self.read(5, silent))
            data = self.read(length, silent)
            if kind == _EXIT:
                return Finished(data[0], bytes(out), bytes(err))
            if kind == _OUT and output is not None:
                output(data)
            elif kind == _OUT:
                out += data
            elif kind == _ERR:
                err += data

    def sync(self) -> None:
        """From now on this connection is to the file service."""
        self.ask("sync:")
        self._socket.settimeout(_STALLED)

    def send_file(self, source: Path, target: str, sent: Sent) -> None:
        """Write a file; `sync` comes first.

        Raises:
            RefusedError: the device cannot write it, most often because it is full.
            DeviceError: the connection is lost.
        """
        self._message(b"SEND", f"{target},{_MODE}".encode())
        modified = int(source.stat().st_mtime)
        for data in _chunks(source):
            if self._answered():  # it gave up; the rest would be sent for nothing
                break
            self._message(b"DATA", data)
            sent(len(data))
        else:
            self.send(b"DONE" + struct.pack("<I", modified & 0xFFFFFFFF))
        status, length = struct.unpack("<4sI", self.read(8))
        if status == b"FAIL":
            raise RefusedError(self.read(length).decode(errors="replace"), where=target)
        if status != b"OKAY":
            raise DeviceError(f"the device's file service answered {status!r}", where=target, remedy="try again")

    def _answered(self) -> bool:
        return bool(select.select([self._socket], [], [], 0)[0])

    def _message(self, kind: bytes, data: bytes) -> None:
        self.send(kind + struct.pack("<I", len(data)) + data)


def _chunks(path: Path) -> Iterator[Any]:
    with open_regular(path) as file:
        while data := file.read(CHUNK):
            yield data
