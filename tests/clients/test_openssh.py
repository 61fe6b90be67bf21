"""A machine behind a real OpenSSH server on this one, reached by the real client."""

from __future__ import annotations

import getpass
import os
import shutil
import signal
import socket
import subprocess
import tempfile
import threading
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest
from wait import until

from qairt.device.base import silent
from qairt.device.ssh import SshHost
from qairt.errors import DeviceError

SERVER = shutil.which("sshd", path=f"{os.environ['PATH']}:/usr/sbin")
CLIENTS = {name: shutil.which(name) for name in ("ssh", "scp", "ssh-keygen")}

pytestmark = [
    pytest.mark.clients,
    pytest.mark.skipif(SERVER is None or None in CLIENTS.values(), reason="no OpenSSH server is installed"),
]


@pytest.fixture(scope="module")
def folder() -> Iterator[Path]:
    with tempfile.TemporaryDirectory(prefix="sshd-") as made:
        yield Path(made)


@pytest.fixture(scope="module")
def server(folder) -> Iterator[psutil.Process]:
    """It lets this user in with a key that is made here, and nobody else."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    for key in ("host", "user"):
        subprocess.run([CLIENTS["ssh-keygen"], "-q", "-t", "ed25519", "-N", "", "-f", folder / key], check=True)
    (folder / "sshd_config").write_text(
        f"ListenAddress 127.0.0.1:{port}\nHostKey {folder}/host\nAuthorizedKeysFile {folder}/user.pub\n"
        "PasswordAuthentication no\nPermitRootLogin yes\nStrictModes no\nPidFile none\nSubsystem sftp internal-sftp\n"
    )
    (folder / "known").write_text(f"[127.0.0.1]:{port} {(folder / 'host.pub').read_text()}")
    (folder / "ssh_config").write_text(
        f"Host board\n HostName 127.0.0.1\n Port {port}\n User {getpass.getuser()}\n IdentityFile {folder}/user\n"
        f" IdentitiesOnly yes\n UserKnownHostsFile {folder}/known\n"
    )
    if os.geteuid() == 0:
        Path("/run/sshd").mkdir(exist_ok=True)  # as its service does
    with (folder / "said").open("wb") as said:
        process = subprocess.Popen([SERVER, "-D", "-e", "-f", folder / "sshd_config"], stderr=said)
    try:
        until(lambda: process.poll() is not None or b"Server listening" in (folder / "said").read_bytes())
        assert process.poll() is None, (folder / "said").read_text()
        yield psutil.Process(process.pid)
    finally:
        process.terminate()
        process.wait()


@pytest.fixture
def host(server, folder, tmp_path, monkeypatch) -> Iterator[SshHost]:
    """`board`, a name of a configuration that the clients are given: they read the user's own wherever HOME is."""
    commands = folder / "bin"
    commands.mkdir(exist_ok=True)
    for name in ("ssh", "scp"):
        (commands / name).write_text(f'#!/bin/sh\nexec {CLIENTS[name]} -F {folder}/ssh_config "$@"\n')
        (commands / name).chmod(0o755)
    monkeypatch.setenv("PATH", f"{commands}:{os.environ['PATH']}")
    monkeypatch.setattr(tempfile, "tempdir", str(folder))
    host = SshHost("board")
    yield host
    host.close()
    assert not list(folder.glob("qairt-ssh-*"))


@pytest.mark.parametrize("ending", ["exit 7", "exit 255", "sh -c 'kill -SEGV $$'", "exec sh -c 'kill -SEGV $$'"])
def test_a_command_gives_output_errors_and_exit_code(host, ending):
    finished = host.run(f"printf 'a\\0b'; echo lost >&2; {ending}")
    expected = int(ending.split()[1]) if ending.startswith("exit") else 128 + signal.SIGSEGV
    assert (finished.code, finished.out) == (expected, b"a\0b")
    assert finished.err.startswith(b"lost\n")


def test_files_into_a_folder_with_spaces(host, tmp_path):
    content = os.urandom(300_000)
    (tmp_path / "weights.bin").write_bytes(content)
    there = tmp_path / "a b 'c'"
    there.mkdir()
    counts: list[int] = []
    host.push({"größe 1.bin": tmp_path / "weights.bin"}, str(there), sent=counts.append)
    assert (there / "größe 1.bin").read_bytes() == content
    assert counts == [len(content)]


def test_a_folder_that_is_not_there(host, tmp_path):
    (tmp_path / "a").write_bytes(b"x")
    with pytest.raises(DeviceError) as caught:
        host.push({"a": tmp_path / "a"}, str(tmp_path / "none"), sent=silent)
    assert caught.value.what.startswith(f"{tmp_path}/none/a cannot be written: ")
    assert caught.value.remedy == "check its storage and the permissions there; what was sent whole is not sent again"


def test_the_connection_breaks_while_a_command_runs(host, server):
    came = threading.Event()
    caught: list[DeviceError] = []

    def work() -> None:
        with pytest.raises(DeviceError) as error:
            host.run("echo runs; sleep 600", output=lambda data: came.set())
        caught.append(error.value)

    thread = threading.Thread(target=work)
    thread.start()
    assert came.wait(30)
    for session in server.children(recursive=True):
        session.kill()
    thread.join()
    assert caught[0].what.startswith("the connection broke: ")
    assert caught[0].remedy == "check the network, then run the same again; what was sent whole is not sent again"
    assert host.run("echo again").text == "again\n"


def test_a_host_key_that_is_not_known(host, folder):
    known = (folder / "known").read_text()
    (folder / "known").write_text("")
    try:
        with pytest.raises(DeviceError, match="its host key is not known here: Host key verification failed"):
            host.run("true")
    finally:
        (folder / "known").write_text(known)
