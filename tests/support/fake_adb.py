"""An adb server with fake phones behind it, speaking the real host protocol on a loopback socket.

Services: host:version, host:devices-l, host:transport:SERIAL, host-serial:SERIAL:features; then on the transport
shell,v2,raw:COMMAND and sync: with SEND, STAT, QUIT. Anything else is refused, as by a real server.
"""

from __future__ import annotations

import math
import os
import selectors
import socket
import struct
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress

from fake_phone import FakePhone
from wait import until


class _CableOutError(Exception):
    pass


class FakeAdbServer:
    """Serves until `close`."""

    def __init__(self, phones: Sequence[FakePhone]) -> None:
        self.phones = list(phones)
        self.requests: list[str] = []
        self._listening = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listening.getsockname()[1]
        threading.Thread(target=self._accept, daemon=True).start()

    def close(self) -> None:
        self._listening.shutdown(socket.SHUT_RDWR)
        self._listening.close()

    def _accept(self) -> None:
        while True:
            try:
                connection, _ = self._listening.accept()
            except OSError:
                return
            threading.Thread(target=self._serve, args=(connection,), daemon=True).start()

    def _serve(self, connection: socket.socket) -> None:
        with connection, suppress(OSError, EOFError, _CableOutError):
            phone: FakePhone | None = None
            while True:
                request = _read(connection, int(_read(connection, 4), 16)).decode()
                self.requests.append(request)
                if phone is None:
                    phone = self._host(connection, request)
                    if phone is None:
                        return
                    connection.sendall(b"OKAY")
                elif phone.frozen:
                    connection.recv(1)
                    return
                elif request.startswith("shell,v2,raw:"):
                    connection.sendall(b"OKAY")
                    _shell(connection, phone, request.removeprefix("shell,v2,raw:"))
                    return
                elif request == "sync:":
                    connection.sendall(b"OKAY")
                    _sync(connection, phone)
                    return
                else:
                    _fail(connection, "closed")
                    return

    def _host(self, connection: socket.socket, request: str) -> FakePhone | None:
        """Answer a request to the server; returns the phone that the connection now belongs to."""
        if request == "host:version":
            _text(connection, "0029")
        elif request == "host:devices-l":
            _text(connection, "".join(f"{_line(phone)}\n" for phone in self.phones))
        elif request.startswith("host:transport:"):
            serial = request.removeprefix("host:transport:")
            phone = next((phone for phone in self.phones if phone.serial == serial), None)
            if phone is not None and phone.state == "device":
                return phone
            _fail(connection, f"device '{serial}' not found" if phone is None else f"device {phone.state}")
        elif request.startswith("host-serial:") and request.endswith(":features"):
            serial = request.removeprefix("host-serial:").removesuffix(":features")
            _text(connection, next(phone.features for phone in self.phones if phone.serial == serial))
        else:
            _fail(connection, "unknown host service")
        return None


@contextmanager
def serving(*phones: FakePhone) -> Iterator[FakeAdbServer]:
    """A server while inside."""
    server = FakeAdbServer(phones)
    try:
        yield server
    finally:
        server.close()


def _line(phone: FakePhone) -> str:
    if phone.state != "device":
        return f"{phone.serial:<22} {phone.state} usb:1-4 transport_id:2"
    return f"{phone.serial:<22} device usb:1-2 product:toy model:{phone.model} device:toy transport_id:1"


def _shell(connection: socket.socket, phone: FakePhone, command: str) -> None:
    """As adb's daemon: a program is not ended when the client disconnects; it only cannot write any more."""
    child = phone.start(command)
    threading.Thread(target=child.wait, daemon=True).start()  # nobody else would, where the other side goes away
    assert child.stdout is not None
    assert child.stderr is not None
    with child.stdout, child.stderr, selectors.DefaultSelector() as waiting:
        waiting.register(child.stdout, selectors.EVENT_READ, 1)
        waiting.register(child.stderr, selectors.EVENT_READ, 2)
        waiting.register(connection, selectors.EVENT_READ, None)
        while len(waiting.get_map()) > 1:
            for key, _ in waiting.select():
                data = os.read(key.fd, 4096)
                if key.data is None:
                    if not data:
                        return
                elif data:
                    told = phone.as_told(data)
                    connection.sendall(struct.pack("<BI", key.data, len(told)) + told)
                else:
                    waiting.unregister(key.fileobj)
    code = child.wait()
    connection.sendall(struct.pack("<BIB", 3, 1, code if code >= 0 else 128 - code))


def _sync(connection: socket.socket, phone: FakePhone) -> None:
    while True:
        kind, length = struct.unpack("<4sI", _read(connection, 8))
        if kind == b"QUIT":
            return
        if kind == b"STAT":
            path = phone.here(_read(connection, length).decode())
            found = path.stat() if path.exists() else None
            stamp = (found.st_mode, found.st_size, int(found.st_mtime)) if found else (0, 0, 0)
            connection.sendall(b"STAT" + struct.pack("<III", *stamp))
        elif kind == b"SEND":
            target, _, mode = _read(connection, length).decode().rpartition(",")
            _receive(connection, phone, target, int(mode))
        else:
            _sync_fail(connection, f"unknown command {kind!r}")
            return


def _receive(connection: socket.socket, phone: FakePhone, target: str, mode: int) -> None:
    path = phone.here(target)
    fault = "" if path.parent.is_dir() else "couldn't create file: No such file or directory"
    fault = "couldn't create file: Permission denied" if phone.read_only else fault
    written = 0
    handle = None if fault else path.open("wb")
    while True:
        kind, length = struct.unpack("<4sI", _read(connection, 8))
        if kind == b"DONE":
            break
        assert kind == b"DATA", kind
        assert length <= 64 * 1024, "the device takes no more at once"
        data = _read(connection, length)
        until(lambda: not phone.frozen, math.inf)
        if phone.cut_after is not None:
            phone.cut_after -= len(data)
            if phone.cut_after < 0:
                if handle is not None:
                    handle.write(data[: len(data) // 2])
                    handle.close()
                phone.cut_after = None
                raise _CableOutError
        written += len(data)
        if handle is not None and phone.full_after is not None and written > phone.full_after:
            handle.close()
            path.unlink()
            handle = None
            _sync_fail(connection, "write failed: No space left on device")
            fault = "said"
        if handle is not None:
            handle.write(data)
    if handle is not None:
        handle.close()
        path.chmod(mode & 0o777)
        os.utime(path, (length, length))
        phone.received.append(path.name)
        connection.sendall(b"OKAY" + struct.pack("<I", 0))
    elif fault != "said":
        _sync_fail(connection, fault)


def _read(connection: socket.socket, count: int) -> bytes:
    data = b""
    while len(data) < count:
        more = connection.recv(count - len(data))
        if not more:
            raise EOFError
        data += more
    return data


def _text(connection: socket.socket, text: str) -> None:
    connection.sendall(b"OKAY%04x" % len(text.encode()) + text.encode())


def _fail(connection: socket.socket, text: str) -> None:
    connection.sendall(b"FAIL%04x" % len(text.encode()) + text.encode())


def _sync_fail(connection: socket.socket, text: str) -> None:
    connection.sendall(b"FAIL" + struct.pack("<I", len(text.encode())) + text.encode())
