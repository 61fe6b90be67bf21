"""A board by ssh: stand-ins for `ssh` and `scp` that accept only what the real ones would."""

from __future__ import annotations

import os
import signal
import subprocess
import threading
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest
from fake_device_sdk import make_device_sdk
from fake_ssh import FakeBoard
from wait import until

from qairt.device.base import silent
from qairt.device.delivery import Folder
from qairt.device.facts import ask
from qairt.device.genie import ask_genie
from qairt.device.sdk_files import GENIE, sdk_files
from qairt.device.ssh import SshHost, find_host
from qairt.errors import DeviceError, ToolchainNotAvailable
from qairt.toolchain.soc import SOCS

PLACE = "my models/qairt/toy-1"
CONFIG = {"dialog": {"engine": {"model": {"binary": {"ctx-bins": ["part_1.bin"]}}}}}


@pytest.fixture
def board(tmp_path, monkeypatch) -> Iterator[FakeBoard]:
    made = FakeBoard(tmp_path / "John's board")
    monkeypatch.setenv("PATH", f"{made.commands}:/usr/bin:/bin")
    with open(os.devnull) as nothing:
        monkeypatch.setattr("sys.stdin", nothing)
        yield made


@pytest.fixture
def host(board) -> SshHost:
    return find_host("pi@board")


def test_a_command_gives_output_errors_and_exit_code(host):
    finished = host.run("printf 'a\\0b'; echo \"it's\" lost >&2; exit 7")
    assert (finished.code, finished.out, finished.err) == (7, b"a\0b", b"it's lost\n")
    pieces: list[bytes] = []
    assert host.run("echo one; echo two", output=pieces.append).out == b""
    assert b"".join(pieces) == b"one\ntwo\n"


def test_a_command_may_end_as_ssh_does_when_it_loses_the_connection(host):
    finished = host.run("echo lost >&2; exit 255")
    assert (finished.code, finished.err) == (255, b"lost\n")


def test_a_program_that_a_signal_ended_is_not_a_lost_connection(host, board):
    """OpenSSH itself exits with 255 for it."""
    finished = host.run("echo before >&2; exec sh -c 'kill -SEGV $$'")
    assert finished.code == 128 + signal.SIGSEGV
    assert finished.err.startswith(b"before\n")


def test_what_a_killed_program_left_is_removed(board, monkeypatch, tmp_path):
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    gone = subprocess.Popen(["true"])
    gone.wait()
    left, other, ours = (tmp_path / f"qairt-ssh-{name}" for name in (f"{gone.pid}-abc", "x", f"{os.getpid()}-abc"))
    for folder in (left, other, ours):
        folder.mkdir()
    SshHost("pi@board")
    assert [folder.exists() for folder in (left, other, ours)] == [False, True, True]


def test_one_connection_for_all_and_it_is_closed(host, board):
    host.run("true")
    (path,) = {word for word in board.calls[0].split('"') if word.startswith("ControlPath=")}
    folder = path.removeprefix("ControlPath=").removesuffix("/%C")
    assert os.path.isdir(folder)
    open(f"{folder}/socket", "w").close()
    host.close()
    assert '"-O", "exit", "pi@board"' in board.calls[-1]
    assert not os.path.exists(folder)

    other = SshHost("pi@board")
    folder = other._sharing
    del other
    assert not os.path.exists(folder), "nor does one stay that nobody closed"


def test_an_answer_from_a_board(host, board, tmp_path):
    root = make_device_sdk(tmp_path / "sdk", platform="aarch64-oe-linux-gcc11.2")
    facts = ask(host, PLACE)
    assert (facts.system, facts.is_64_bit_arm) == ("Linux", True)
    files = sdk_files(root, [GENIE], facts, SOCS["SM8650"])
    for name in ("part_1.bin", "tokenizer.json"):
        (tmp_path / name).write_text(name)
        files[f"bundle/{name}"] = tmp_path / name
    folder = Folder(host, PLACE)
    assert folder.deliver(files, hashing=facts.hashing).sent == len(files)
    assert folder.deliver(files, hashing=facts.hashing).sent == 0
    shown: list[str] = []
    answer = ask_genie(folder, CONFIG, "[u]it's $HOME\nlife", show=shown.append)
    assert answer.text == "".join(shown) == "The answer to LIFE is [END] of it."
    assert board.files == {f"{PLACE}/{name}" for name in files}

    (board.home / PLACE / "tool" / "slow").touch()
    running: list[int] = []

    def pid_is_written() -> bool:
        texts = [path.read_text().strip() for path in board.home.glob("my models/qairt/*/run-*/pid")]
        running.extend(int(text) for text in texts if text)
        return bool(running)

    def stop() -> None:
        with suppress(AssertionError):
            until(pid_is_written, 20)
        os.kill(os.getpid(), signal.SIGINT)

    threading.Thread(target=stop).start()
    with pytest.raises(KeyboardInterrupt):
        ask_genie(folder, CONFIG, "hi", show=shown.append)
    with pytest.raises(ProcessLookupError):
        os.kill(running[0], 0)
    (board.home / PLACE / "tool" / "slow").unlink()
    assert board.files == {f"{PLACE}/{name}" for name in files}


KEY = r"HKLM\HARDWARE\DESCRIPTION\System\CentralProcessor\0"
LAPTOP = {
    "reg": f'[ "$1" = query ] && [ "$2" = \'{KEY}\' ] || exit 1\n'
    'echo "    ProcessorNameString    REG_SZ    Snapdragon(R) X Elite - X1E78100 - Qualcomm(R) Oryon(TM) CPU"\n',
    "cygpath": r"""[ "$1" = -w ] && echo "C:$2" | sed 's:/:\\:g'""",
}


def test_windows_on_arm_with_git_for_windows(host, board, tmp_path):
    board.become("MINGW64_NT-10.0-26100", LAPTOP, {"PROCESSOR_IDENTIFIER": "ARMv8 (64-bit) Family 8, Qualcomm"})
    facts = ask(host, PLACE)
    assert (facts.system, facts.machine, facts.soc) == ("windows", "aarch64", SOCS["SC8380XP"])

    root = tmp_path / "sdk"
    platform = "aarch64-windows-msvc"
    for name in ("Genie.dll", "QnnHtp.dll", "QnnSystem.dll", "QnnHtpNetRunExtensions.dll", "QnnHtpV73Stub.dll"):
        write(root / "lib" / platform / name, name)
    for name in ("libQnnHtpV73Skel.so", "libqnnhtpv73.cat"):
        write(root / "lib" / "hexagon-v73" / "unsigned" / name, name)
    program = root / "bin" / platform / "genie-t2t-run.exe"
    write(program, '#!/bin/sh\nprintf "[BEGIN]: %s %s[END]\\n" "${ADSP_LIBRARY_PATH%%;*}" "${PATH%%:*}"\n')
    folder = Folder(host, PLACE)
    folder.deliver(sdk_files(root, [GENIE], facts, SOCS["SC8380XP"]), hashing=True)
    tool = board.home / PLACE / "tool"
    (tool / "genie-t2t-run").symlink_to(tool / "genie-t2t-run.exe")  # as Windows' sh finds it
    answer = ask_genie(folder, CONFIG, "hi", show=lambda text: None)
    assert answer.text == "C:" + str(tool).replace("/", "\\") + f" {tool}"

    (root / "lib" / "hexagon-v73" / "unsigned" / "libqnnhtpv73.cat").unlink()
    with pytest.raises(ToolchainNotAvailable, match=r"needs: lib/hexagon-v73/unsigned/libqnnhtpv73\.cat\n"):
        sdk_files(root, [GENIE], facts, SOCS["SC8380XP"])


def write(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)


CHANGED = """\
@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@
@    WARNING: REMOTE HOST IDENTIFICATION HAS CHANGED!     @
@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@
IT IS POSSIBLE THAT SOMEONE IS DOING SOMETHING NASTY!
Host key verification failed.
"""


@pytest.mark.parametrize(
    ("said", "what", "remedy"),
    [
        (CHANGED, "it has another host key than the last time: WARNING: REMOTE HOST IDEN", "`ssh-keygen -R HOST`"),
        (
            "No ED25519 host key is known for board and you have requested strict checking.\r\n"
            "Host key verification failed.\r\n",
            "its host key is not known here: ",
            "`ssh HOST` once by hand",
        ),
        (
            "pi@board: Permission denied (publickey,password).\r\n",
            "it does not let this user in: pi@board: Permission denied (publickey,password).",
            "ssh-copy-id",
        ),
        ("ssh: Could not resolve hostname board: Name or service not known\r\n", "there is no such host: ", "the name"),
        ("ssh: connect to host board port 22: Connection refused\r\n", "nothing listens there: ", "ssh server"),
        ("ssh: connect to host board port 22: Connection timed out\r\n", "it does not answer: ", "network"),
        ("client_loop: send disconnect: Broken pipe\r\n", "the connection broke: client_loop", "run the same again"),
    ],
)
def test_what_ssh_says_is_explained(host, board, tmp_path, said, what, remedy):
    board.fail(said)
    with pytest.raises(DeviceError) as caught:
        host.run("true")
    assert caught.value.what.startswith(what)
    assert remedy in str(caught.value.remedy)
    assert caught.value.where == "ssh host pi@board"
    (tmp_path / "a").touch()
    with pytest.raises(DeviceError):
        host.push({"a": tmp_path / "a"}, "x", sent=silent)


@pytest.mark.parametrize(
    "said", ["lost connection\n", "scp: Connection closed\r\n", "client_loop: send disconnect: Broken pipe\r\n"]
)
def test_a_connection_that_ends_while_files_are_sent(host, board, tmp_path, said):
    board.fail(said)
    (tmp_path / "a").touch()
    with pytest.raises(DeviceError) as caught:
        host.push({"a": tmp_path / "a"}, "x", sent=silent)
    assert caught.value.what == f"the connection broke: {said.strip()}"
    assert caught.value.remedy == "check the network, then run the same again; what was sent whole is not sent again"


def test_storage_that_is_full_and_folders_that_are_missing(host, board, tmp_path):
    (tmp_path / "a").touch()
    with pytest.raises(DeviceError) as caught:
        host.push({"a": tmp_path / "a"}, "nowhere", sent=silent)
    assert caught.value.what == 'nowhere/a cannot be written: scp: dest open "nowhere/a": No such file or directory'
    (board.root / "full").touch()
    with pytest.raises(DeviceError) as caught:
        host.push({"a": tmp_path / "a"}, ".", sent=silent)
    assert caught.value.what == './a cannot be written: scp: write remote "./a": Failure'
    assert "check its storage" in str(caught.value.remedy)


def test_no_host_and_no_client(board, monkeypatch, tmp_path):
    for wanted, what in ((None, "which machine?"), ("-oProxyCommand=x", "'-oProxyCommand=x' is not a host")):
        with pytest.raises(DeviceError) as caught:
            find_host(wanted)
        assert caught.value.what == what
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(ToolchainNotAvailable, match="ssh and scp cannot be found"):
        find_host("board")
