"""A small process that has imported what the items of a run need, and forks a worker for each of them (on Linux).

Importing takes as long as many an item; here it happens once. The process computes nothing and starts no thread, since
a fork copies only one: with a thread running it refuses, and the engine starts workers as programs of their own.

    engine ── control socket ──► fork server ── fork ──► guard of an item ── fork ──► worker
      ▲ reply: the guard's process id, then how it ended     ▲ standard input: the engine closes it to end the item

`python -P -m qairt.engine.run.fork_server FD` is the server's side, `ForkServer` the engine's.
"""

from __future__ import annotations

import importlib
import json
import os
import select
import signal
import socket
import struct
import subprocess
import sys
import threading
import time
from collections.abc import Mapping, Sequence
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import Any, BinaryIO

from qairt.child_process import python_command
from qairt.engine.run.guard import wake_on_ended_children

_NUMBER = struct.Struct("i")
_MESSAGE = 1 << 16
_POLL_S = 0.02
_START_S = 60.0
"""For imports on a busy machine, until the first item is started another way."""


class Unable(Exception):  # noqa: N818 - the caller has another way
    """The server cannot fork this one."""


class Forked:
    """A worker's guard, as `subprocess.Popen` gives a child."""

    def __init__(self, pid: int, stdin: BinaryIO, reply: socket.socket, server: ForkServer) -> None:
        self.pid, self.stdin = pid, stdin
        self.returncode: int | None = None
        """As of `Popen`: negative for a signal, SIGKILL also where nobody can tell."""
        self._reply, self._server = reply, server

    def wait(self, timeout: float | None = None) -> int:
        """
        Raises:
            subprocess.TimeoutExpired: it has not ended.
        """
        if self.returncode is None:
            until = None if timeout is None else time.monotonic() + timeout
            self._reply.settimeout(timeout)
            try:
                code = _received(self._reply)
            except TimeoutError:
                raise subprocess.TimeoutExpired("worker", timeout or 0.0) from None
            while code is None and _is_alive(self.pid):  # the server is gone, the worker is not
                if until is not None and time.monotonic() >= until:
                    raise subprocess.TimeoutExpired("worker", timeout or 0.0)
                time.sleep(_POLL_S)
            self.returncode = -signal.SIGKILL if code is None else code
        return self.returncode

    def reap(self) -> None:
        """It has ended, and its process id may be used again from now on."""
        self._reply.close()
        self._server.reap(self.pid)


class ForkServer:
    """The engine's side; used from several threads.

    Args:
        environment: of the workers.
    """

    def __init__(self, environment: Mapping[str, str]) -> None:
        self._lock = threading.Lock()
        self._control, theirs = _connection()
        with theirs:
            self._process = subprocess.Popen(
                python_command("-m", "qairt.engine.run.fork_server", str(theirs.fileno())),
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                env=environment,
                pass_fds=[theirs.fileno()],
                start_new_session=True,
            )

    def start(self, folder: Path, modules: Sequence[str], log: BinaryIO) -> Forked:
        """Fork a worker for the job in `folder`.

        Args:
            modules: are imported first, once.
            log: its standard output and error.

        Raises:
            Unable: the server is gone, or may not fork.
        """
        with ExitStack() as opened:
            reading, writing = os.pipe()
            stdin = opened.enter_context(os.fdopen(writing, "wb", buffering=0))
            with os.fdopen(reading, "rb", buffering=0) as theirs:
                reply, answers = _connection()
                opened.enter_context(reply)
                with answers:
                    request = json.dumps({"folder": str(folder), "modules": list(modules)}).encode()
                    files = [theirs.fileno(), log.fileno(), answers.fileno()]
                    with self._lock:
                        try:
                            socket.send_fds(self._control, [request], files)
                        except OSError as error:
                            raise Unable from error
            reply.settimeout(_START_S)
            try:
                pid = _received(reply)
            except OSError as error:
                raise Unable from error
            if pid is None:
                raise Unable
            opened.pop_all()
        return Forked(pid, stdin, reply, self)

    def reap(self, pid: int) -> None:
        """Let go of an ended child."""
        with self._lock, suppress(OSError):
            self._control.sendall(json.dumps({"reap": pid}).encode())

    def close(self) -> None:
        """End the server; workers go on."""
        self._control.close()
        with suppress(subprocess.TimeoutExpired):
            self._process.wait(1.0)
        self._process.kill()
        self._process.wait()


def _is_alive(pid: int) -> bool:
    import psutil

    try:
        return bool(psutil.Process(pid).status() != psutil.STATUS_ZOMBIE)
    except psutil.NoSuchProcess:
        return False


def _connection() -> tuple[socket.socket, socket.socket]:
    """Two ends that keep messages apart."""
    return socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)


def _received(reply: socket.socket) -> int | None:
    """The next number; None if the server is gone."""
    try:
        data = reply.recv(_NUMBER.size)
    except ConnectionError:
        return None
    return int(_NUMBER.unpack(data)[0]) if data else None


class Server:
    """The server's side: answers requests until the engine is gone."""

    def __init__(self, control: socket.socket) -> None:
        self._control = control
        self._replies: dict[int, socket.socket] = {}
        """Of children that have not ended, by process id."""

    def serve(self) -> None:
        import qairt.engine.run.jobs
        import qairt.engine.run.worker  # noqa: F401 - for the children

        wake, control = wake_on_ended_children(), self._control.fileno()
        while True:
            ready, _, _ = select.select([control, wake], [], [])
            if wake in ready:
                os.read(wake, 512)
                self._tell_ended()
            if control in ready:
                data, files, _, _ = socket.recv_fds(self._control, _MESSAGE, 3)
                if not data:
                    return
                self._answer(json.loads(data), files)

    def _answer(self, request: Mapping[str, Any], files: Sequence[int]) -> None:
        if "reap" in request:
            with suppress(ChildProcessError):
                os.waitpid(request["reap"], 0)
            return
        stdin, log, answers = files
        reply = socket.socket(fileno=answers)
        for module in request["modules"]:
            with suppress(Exception):  # the worker says what is wrong with it
                importlib.import_module(module)
        if _threads() == 1:
            pid = os.fork()
            if pid == 0:
                for other in (self._control, reply, *self._replies.values()):
                    other.close()
                _become_worker(Path(request["folder"]), stdin, log)
            self._replies[pid] = reply
            reply.send(_NUMBER.pack(pid))
        else:
            reply.close()
        os.close(stdin)
        os.close(log)

    def _tell_ended(self) -> None:
        """Say how children ended; they stay as zombies, so that their ids are not used again, until `reap`."""
        for pid in list(self._replies):
            ended = os.waitid(os.P_PID, pid, os.WEXITED | os.WNOHANG | os.WNOWAIT)
            if ended is not None:
                code = ended.si_status if ended.si_code == os.CLD_EXITED else -ended.si_status
                with self._replies.pop(pid) as reply, suppress(OSError):  # the engine may be gone
                    reply.send(_NUMBER.pack(code))


def _become_worker(folder: Path, stdin: int, log: int) -> None:
    """Guard the worker of one item; the process ends here."""
    from qairt.engine.run.worker import main

    os.setsid()
    for file, number in ((stdin, 0), (log, 1), (log, 2)):
        os.dup2(file, number)
    os.close(stdin)
    os.close(log)
    os._exit(main(folder))


def _threads() -> int:
    return len(os.listdir("/proc/self/task"))


if __name__ == "__main__":
    with socket.socket(fileno=int(sys.argv[1])) as _theirs:
        Server(_theirs).serve()
