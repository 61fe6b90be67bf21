"""Android devices, by the adb server that runs beside Android's tools."""

from __future__ import annotations

import atexit
import os
import shutil
import subprocess
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

from qairt.device.adb_protocol import Link, RefusedError
from qairt.device.base import Finished, Output, Sent
from qairt.errors import DeviceError

PORT = 5037
HOME = "/data/local/tmp"
"""The folder of an Android device in which a shell may write and run programs."""

_STATES = {
    "unauthorized": "unlock it and accept the question about USB debugging; else `adb kill-server` and try again",
    "authorizing": "it is asking for permission: unlock it and accept the question about USB debugging",
    "offline": "unplug it and plug it in again, or `adb reconnect`",
    "no permissions": "this user may not open it on USB: install your system's udev rules for Android"
    " (package android-sdk-platform-tools-common), then plug it in again",
    "bootloader": "it is in its boot loader: start Android",
    "recovery": "it is in recovery: start Android",
    "sideload": "it is in recovery: start Android",
    "connecting": "it is just connecting: try again",
}


@dataclass(frozen=True)
class Listed:
    """A line of `adb devices -l`."""

    serial: str
    state: str
    """`device` when it can be used."""
    facts: dict[str, str] = field(default_factory=dict)
    """Such as model and product."""

    def __str__(self) -> str:
        model = self.facts.get("model")
        return f"{self.serial} ({model})" if model else self.serial


class AdbDevice:
    """One device behind an adb server."""

    def __init__(self, serial: str, host: str = "127.0.0.1", port: int = PORT) -> None:
        self.serial = serial
        self.name = f"adb device {serial}"
        self._server = (host, port)

    def push(self, files: Mapping[str, Path], folder: str, *, sent: Sent) -> None:
        with self._transport() as link:
            link.sync()
            for name, source in files.items():
                target = f"{folder}/{name}"
                try:
                    link.send_file(source, target, sent)
                except RefusedError as error:
                    raise DeviceError(
                        f"{target} cannot be written: {error.what}", where=self.name, remedy=_write_remedy(error.what)
                    ) from error
                except DeviceError as error:
                    raise DeviceError(error.what, where=f"{self.name}, {target}", remedy=error.remedy) from error

    def run(self, command: str, *, output: Output | None = None) -> Finished:
        with self._transport() as link:
            try:
                return link.shell(command, output, self._require_answer)
            except RefusedError as error:
                raise DeviceError(f"its shell cannot be used: {error.what}", where=self.name) from error
            except DeviceError as error:
                raise DeviceError(error.what, where=self.name, remedy=error.remedy) from error

    def _require_answer(self) -> None:
        """
        Raises:
            DeviceError: its shell cannot be reached any more.
        """
        with self._transport() as link:
            link.ask("shell,v2,raw:true")  # it is the device that answers this, not the server

    def _transport(self) -> Link:
        link = connect(*self._server)
        try:
            link.ask(f"host:transport:{self.serial}")
        except RefusedError as error:
            link.__exit__()
            raise DeviceError(
                f"it cannot be reached: {error.what}", where=self.name, remedy="`adb devices` lists what is connected"
            ) from error
        except BaseException:
            link.__exit__()
            raise
        return link


def find_device(wanted: str | None) -> AdbDevice:
    """The device to use, ready.

    Args:
        wanted: `SERIAL`, `SERIAL@HOST`, `SERIAL@HOST:PORT` or `@HOST`; `$ANDROID_SERIAL` when None, else the only one.
            `$ANDROID_ADB_SERVER_PORT` is the port of the server where none is given.

    Raises:
        DeviceError: there is no server or no such device, several and none named, or it is not ready; says what to do.
    """
    serial, host, port = _parse(wanted if wanted is not None else os.environ.get("ANDROID_SERIAL") or "")
    found = listed(host, port)
    at = "" if host == "127.0.0.1" else f"@{host}"
    names = ", ".join(map(str, found))
    if serial:
        chosen = next((device for device in found if device.serial == serial), None)
        if chosen is None:
            raise DeviceError(
                f"there is no device {serial}",
                where=f"adb server {host}:{port}",
                remedy=f"connected are {names}" if found else "connect it, and check with `adb devices`",
            )
    elif not found:
        raise DeviceError(
            "no device is connected",
            where=f"adb server {host}:{port}",
            remedy="connect one with USB debugging on (Settings, Developer options), or `adb connect ADDRESS`",
        )
    else:
        ready = [device for device in found if device.state == "device"]
        if len(ready) > 1:
            raise DeviceError(
                f"{len(ready)} devices are connected: {', '.join(map(str, ready))}",
                where=f"adb server {host}:{port}",
                remedy=f"say which: --device {ready[0].serial}{at}, or set ANDROID_SERIAL",
            )
        chosen = ready[0] if ready else found[0]
    if chosen.state != "device":
        state = next((known for known in _STATES if chosen.state.startswith(known)), "")
        raise DeviceError(
            f"it is not ready: {chosen.state}", where=f"adb device {chosen}", remedy=_STATES.get(state, "`adb devices`")
        )
    device = AdbDevice(chosen.serial, host, port)
    _require_shell(device, host, port)
    return device


def listed(host: str, port: int) -> list[Listed]:
    """All devices that a server knows, ready or not.

    Raises:
        DeviceError: no server answers, and none can be started.
    """
    with connect(host, port) as link:
        text = link.answer("host:devices-l")
    found = []
    for line in filter(None, map(str.strip, text.splitlines())):
        serial, _, rest = line.partition(" ")
        words = rest.split()
        facts = dict(word.split(":", 1) for word in words if ":" in word and not word.startswith("["))
        state = "no permissions" if rest.strip().startswith("no permissions") else (words or ["unknown"])[0]
        found.append(Listed(serial, state, facts))
    return found


def connect(host: str, port: int) -> Link:
    """
    Raises:
        DeviceError: no server answers; one on this machine is started first where `adb` is installed.
    """
    try:
        return Link(host, port)
    except OSError as error:
        failure = error
    local = host in ("127.0.0.1", "localhost")
    adb = shutil.which("adb")
    if local and adb is not None:
        with suppress(OSError, subprocess.TimeoutExpired):
            subprocess.run([adb, "-P", str(port), "start-server"], capture_output=True, timeout=60, check=False)
            atexit.register(_end_server, adb, port)
        try:
            return Link(host, port)
        except OSError as error:
            failure = error
    if not local:
        remedy = "start it there with `adb -a nodaemon server`, or forward its port with `ssh -L`"
    elif adb is None:
        remedy = "install Android's platform tools, then `adb start-server`"
    else:
        remedy = f"check {adb}: `adb -P {port} start-server`"
    raise DeviceError(
        f"no adb server answers: {failure.strerror or failure}", where=f"{host}:{port}", remedy=remedy
    ) from failure


def _end_server(adb: str, port: int) -> None:
    """End the server that this process started."""
    with suppress(OSError, subprocess.TimeoutExpired):
        subprocess.run([adb, "-P", str(port), "kill-server"], capture_output=True, timeout=10, check=False)


def _require_shell(device: AdbDevice, host: str, port: int) -> None:
    with connect(host, port) as link:
        features = link.answer(f"host-serial:{device.serial}:features").split(",")
    if "shell_v2" not in features:
        raise DeviceError(
            "its Android is too old: adb there has no shell protocol 2",
            where=device.name,
            remedy="Android 7 or newer is needed; phones with a supported NPU have 11 or newer",
        )


def _parse(wanted: str) -> tuple[str, str, int]:
    port = _port(os.environ.get("ANDROID_ADB_SERVER_PORT") or str(PORT), "ANDROID_ADB_SERVER_PORT")
    serial, at, server = wanted.rpartition("@")
    if not at:
        return wanted, "127.0.0.1", port
    host, colon, text = server.rpartition(":")
    if not colon:
        return serial, server, port
    return serial, host, _port(text, f"--device {wanted}")


def _port(text: str, where: str) -> int:
    if not text.isdigit() or not 0 < int(text) < 65536:
        raise DeviceError(f"{text!r} is not a port", where=where, remedy="give a number, 5037 for most servers")
    return int(text)


def _write_remedy(what: str) -> str:
    if "No space" in what:
        return "its storage is full: make room, then run the same again; what was sent whole is not sent again"
    if "denied" in what or "Read-only" in what:
        return f"adb's shell may write below {HOME} only"
    return "run the same again; what was sent whole is not sent again"
