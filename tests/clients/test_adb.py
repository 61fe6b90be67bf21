"""Android's own adb, without a device."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import sys

import pytest

from qairt.device.adb import listed

ADB = shutil.which("adb")

pytestmark = [pytest.mark.clients, pytest.mark.skipif(ADB is None, reason="adb is not installed")]

LISTS = "import sys; from qairt.device.adb import listed; print(listed('127.0.0.1', int(sys.argv[1])))"


@pytest.fixture
def port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@pytest.fixture
def environment(tmp_path) -> dict[str, str]:
    """The server keeps its keys in a home of its own."""
    return {**os.environ, "HOME": str(tmp_path), "ANDROID_USER_HOME": str(tmp_path), "TMPDIR": str(tmp_path)}


def answers(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


def test_a_server_is_started_asked_and_ended(port, environment):
    done = subprocess.run([sys.executable, "-c", LISTS, str(port)], env=environment, capture_output=True, text=True)
    assert (done.returncode, done.stdout) == (0, "[]\n"), done.stderr
    assert not answers(port)


def test_a_server_that_ran_before_goes_on(port, environment):
    subprocess.run([ADB, "-P", str(port), "start-server"], env=environment, check=True, capture_output=True)
    try:
        assert listed("127.0.0.1", port) == []
        done = subprocess.run([sys.executable, "-c", LISTS, str(port)], env=environment, capture_output=True, text=True)
        assert (done.returncode, done.stdout) == (0, "[]\n"), done.stderr
        assert answers(port)
    finally:
        subprocess.run([ADB, "-P", str(port), "kill-server"], env=environment, check=True, capture_output=True)
