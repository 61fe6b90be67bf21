"""The adb client against a server that speaks the real protocol."""

from __future__ import annotations

import os
import socket
import struct
import subprocess
import sys
import threading

import pytest
from fake_phone import HOME, FakePhone

from qairt.device import adb_protocol
from qairt.device.adb import find_device, listed
from qairt.device.base import silent
from qairt.errors import DeviceError


def test_the_only_device_is_found_and_described(server, phone):
    (found,) = listed("127.0.0.1", server.port)
    assert (found.serial, found.state, found.facts["model"]) == (phone.serial, "device", "Pixel_Toy")
    assert find_device(None).name == f"adb device {phone.serial}"


def test_a_command_gives_output_errors_and_exit_code(device):
    finished = device.run("printf 'a\\0b'; echo lost >&2; exit 7")
    assert (finished.code, finished.out, finished.err) == (7, b"a\0b", b"lost\n")
    assert device.run("kill -SEGV $$").code == 139


def test_output_comes_as_it_is_written(device):
    pieces: list[bytes] = []
    came = threading.Event()

    def take(data: bytes) -> None:
        pieces.append(data)
        came.set()

    thread = threading.Thread(target=device.run, args=("echo one; sleep 0.5; echo two",), kwargs={"output": take})
    thread.start()
    assert came.wait(5)
    assert pieces == [b"one\n"], "before the command has ended"
    thread.join()
    assert b"".join(pieces) == b"one\ntwo\n"


def test_a_command_that_is_silent_for_long_is_waited_for(device, monkeypatch):
    monkeypatch.setattr(adb_protocol, "_SILENCE", 0.05)
    assert device.run("sleep 0.3; echo done").text == "done\n"


def test_a_device_that_stops_answering_is_told(device, phone, monkeypatch):
    monkeypatch.setattr(adb_protocol, "_SILENCE", 0.05)
    monkeypatch.setattr(adb_protocol, "_SECONDS", 0.2)

    def freeze(command: str) -> None:
        phone.frozen = True

    phone.on_command = freeze
    with pytest.raises(DeviceError) as caught:
        device.run("sleep 1")
    assert (caught.value.what, caught.value.where) == ("the device does not answer", f"adb device {phone.serial}")
    assert "adb reconnect" in str(caught.value.remedy)


def test_a_device_that_takes_no_more_of_a_file_is_told(device, phone, tmp_path, monkeypatch):
    monkeypatch.setattr(adb_protocol, "_STALLED", 0.2)
    (tmp_path / "a").write_bytes(bytes(300_000))

    def freeze(count: int) -> None:
        phone.frozen = True

    with pytest.raises(DeviceError, match="the device does not answer"):
        device.push({"a": tmp_path / "a"}, HOME, sent=freeze)
    phone.frozen = False


def test_messages_that_come_byte_by_byte():
    said = (
        struct.pack("<BI", 1, 5) + b"h\xc3\xa9\n\0" + struct.pack("<BI", 2, 3) + b"err" + struct.pack("<BIB", 3, 1, 7)
    )
    with socket.create_server(("127.0.0.1", 0)) as server:

        def answer() -> None:
            connection, _ = server.accept()
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            with connection:
                connection.recv(1000)
                for byte in b"OKAY" + said:
                    connection.sendall(bytes([byte]))
                connection.recv(1000)

        threading.Thread(target=answer, daemon=True).start()
        with adb_protocol.Link("127.0.0.1", server.getsockname()[1]) as link:
            finished = link.shell("any", None, lambda: None)
    assert (finished.code, finished.out, finished.err) == (7, b"h\xc3\xa9\n\0", b"err")


def test_a_command_too_long_for_a_request(device):
    with pytest.raises(DeviceError, match=r"a command of 65,5\d\d bytes is too long for adb"):
        device.run("x" * 65_536)


def test_names_with_spaces_and_other_letters(device, phone, tmp_path):
    (tmp_path / "a").write_bytes(b"x")
    device.push({"größe 'x' $(id).bin": tmp_path / "a"}, HOME, sent=silent)
    assert (phone.storage / "größe 'x' $(id).bin").read_bytes() == b"x"


def test_push_writes_any_bytes_and_tells_how_many(device, phone, tmp_path):
    data = bytes(range(256)) * 1000  # several messages
    (tmp_path / "a").write_bytes(data)
    (tmp_path / "empty").write_bytes(b"")
    counts: list[int] = []
    device.push({"a.bin": tmp_path / "a", "none": tmp_path / "empty"}, HOME, sent=counts.append)
    assert (phone.storage / "a.bin").read_bytes() == data
    assert (phone.storage / "none").read_bytes() == b""
    assert sum(counts) == len(data)


@pytest.mark.parametrize("wanted", ["{serial}", "{serial}@127.0.0.1:{port}", "{serial}@127.0.0.1", "@127.0.0.1"])
def test_a_device_is_named_by_serial_and_host(server, phone, wanted):
    assert find_device(wanted.format(serial=phone.serial, port=server.port)).serial == phone.serial


def fault(wanted: str | None = None) -> DeviceError:
    with pytest.raises(DeviceError) as caught:
        find_device(wanted)
    assert caught.value.remedy
    return caught.value


def test_no_device(server):
    server.phones.clear()
    error = fault()
    assert error.what == "no device is connected"
    assert "USB debugging" in str(error.remedy)


def test_two_devices_and_none_named(server, phone, tmp_path, monkeypatch):
    server.phones.append(FakePhone(tmp_path / "other", serial="emu-1", model="Other"))
    error = fault()
    assert error.what == "2 devices are connected: 4f2a91c7 (Pixel_Toy), emu-1 (Other)"
    assert error.remedy == "say which: --device 4f2a91c7, or set ANDROID_SERIAL"
    monkeypatch.setenv("ANDROID_SERIAL", "emu-1")
    assert find_device(None).serial == "emu-1"
    assert find_device("4f2a91c7").serial == "4f2a91c7", "what the user says goes before the environment"


def test_two_devices_of_which_one_is_ready(server, phone, tmp_path):
    server.phones.insert(0, FakePhone(tmp_path / "other", serial="emu-1", state="offline"))
    assert find_device(None).serial == phone.serial


def test_a_device_that_is_not_there(server):
    error = fault("nobody")
    assert error.what == "there is no device nobody"
    assert error.remedy == "connected are 4f2a91c7 (Pixel_Toy)"


@pytest.mark.parametrize(
    ("state", "remedy"),
    [
        ("unauthorized", "accept the question about USB debugging"),
        ("offline", "unplug it and plug it in again"),
        ("no permissions (user in plugdev group; are your udev rules wrong?); see [http://x]", "udev rules"),
        ("recovery", "start Android"),
    ],
)
def test_a_device_that_is_not_ready(server, phone, state, remedy):
    phone.state = state
    error = fault()
    assert error.what == f"it is not ready: {state.split(' (')[0]}"
    assert remedy in str(error.remedy)
    assert phone.serial in str(error.where)


def test_android_without_shell_protocol(server, phone):
    phone.features = "cmd"
    assert fault().what == "its Android is too old: adb there has no shell protocol 2"


def test_no_server_and_no_adb(server, monkeypatch):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        free = taken.getsockname()[1]
    monkeypatch.setenv("ANDROID_ADB_SERVER_PORT", str(free))
    error = fault()
    assert error.what == "no adb server answers: Connection refused"
    assert error.where == f"127.0.0.1:{free}"
    assert error.remedy == "install Android's platform tools, then `adb start-server`"


def test_no_server_elsewhere_is_not_started_from_here(server):
    error = fault("x@localhost.invalid:1")
    assert "nodaemon server" in str(error.remedy)


def test_a_server_is_started_where_adb_is_installed(server, tmp_path, monkeypatch):
    adb = tmp_path / "adb"
    adb.write_text(f'#!/bin/sh\necho "$@" > {tmp_path}/words\n')
    adb.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setenv("ANDROID_ADB_SERVER_PORT", "1")
    error = fault()
    assert (tmp_path / "words").read_text() == "-P 1 start-server\n"
    assert error.remedy == f"check {adb}: `adb -P 1 start-server`"
    adb.write_text("#!/no/such/program\n")
    assert fault().what == "no adb server answers: Connection refused"


def test_a_server_that_was_started_ends_with_the_program(server, tmp_path):
    adb = tmp_path / "adb"
    adb.write_text(f'#!/bin/sh\necho "$@" >> {tmp_path}/words\n')
    adb.chmod(0o755)
    program = "from qairt.device.adb import listed\ntry: listed('127.0.0.1', 1)\nexcept Exception: pass"
    subprocess.run([sys.executable, "-c", program], env={**os.environ, "PATH": str(tmp_path)}, check=True)
    assert (tmp_path / "words").read_text() == "-P 1 start-server\n-P 1 kill-server\n"


@pytest.mark.parametrize(("said", "seen"), [(b"HTTP/1.1 400 Bad Request", b"HTTP"), (b"OKAY, hello", b", he")])
def test_another_program_at_the_port(server, monkeypatch, said, seen):
    with socket.create_server(("127.0.0.1", 0)) as other:

        def answer() -> None:
            connection, _ = other.accept()
            with connection:
                connection.recv(100)
                connection.sendall(said)

        threading.Thread(target=answer, daemon=True).start()
        monkeypatch.setenv("ANDROID_ADB_SERVER_PORT", str(other.getsockname()[1]))
        assert fault().what == f"the answer {seen!r} is not that of an adb server"


@pytest.mark.parametrize(("closes", "seen"), [(True, "the connection is closed"), (False, "nothing in 1 s")])
def test_a_program_at_the_port_that_never_answers(server, monkeypatch, closes, seen):
    monkeypatch.setattr(adb_protocol, "_SECONDS", 1.0)
    with socket.create_server(("127.0.0.1", 0)) as other:
        held: list[socket.socket] = []

        def take() -> None:
            connection, _ = other.accept()
            held.append(connection)
            if closes:
                connection.close()

        threading.Thread(target=take, daemon=True).start()
        port = other.getsockname()[1]
        monkeypatch.setenv("ANDROID_ADB_SERVER_PORT", str(port))
        error = fault()
    assert error.what == f"no adb server answers: {seen}"
    assert error.where == f"adb server 127.0.0.1:{port}"
    assert error.remedy == "another program listens there: set ANDROID_ADB_SERVER_PORT, or give SERIAL@HOST:PORT"


@pytest.mark.parametrize("wanted", ["x@host:no", "x@host:0", "x@host:70000"])
def test_a_port_that_is_none(server, wanted):
    assert "is not a port" in fault(wanted).what


def test_the_cable_is_pulled_while_a_file_goes_over(device, phone, tmp_path):
    (tmp_path / "a").write_bytes(bytes(300_000))
    phone.cut_after = 100_000
    with pytest.raises(DeviceError) as caught:
        device.push({"a": tmp_path / "a"}, HOME, sent=silent)
    assert caught.value.what == "the connection to the device broke"
    assert caught.value.where == f"adb device {phone.serial}, {HOME}/a"


def test_storage_gets_full_while_a_file_goes_over(device, phone, tmp_path):
    (tmp_path / "a").write_bytes(bytes(3_000_000))
    phone.full_after = 100_000
    counts: list[int] = []
    with pytest.raises(DeviceError) as caught:
        device.push({"a": tmp_path / "a"}, HOME, sent=counts.append)
    assert caught.value.what == f"{HOME}/a cannot be written: write failed: No space left on device"
    assert "make room" in str(caught.value.remedy)
    assert "a" not in phone.files


def test_the_device_is_gone_when_a_command_is_to_run(device, phone):
    phone.state = "offline"
    with pytest.raises(DeviceError, match="it cannot be reached: device offline"):
        device.run("true")
