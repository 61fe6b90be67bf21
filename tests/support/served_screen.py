"""`qairt tui --serve` over a two-layer model's recipe."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tiny_recipe import write_recipe
from wait import until


@contextmanager
def served_screen(folder: Path) -> Iterator[tuple[int, subprocess.Popen[bytes], Path]]:
    """The port of the server, its process and the file with what it printed."""
    write_recipe(folder / "recipe")
    port = free_port()
    said = folder / "said.txt"
    words = ["tui", "recipe/recipe.yaml", "--cache-dir", "cache", "--serve", "--port", str(port)]
    environment = {name: value for name, value in os.environ.items() if name not in ("CI", "NO_COLOR")}
    environment["XDG_CONFIG_HOME"] = str(folder / "config")
    with said.open("wb") as output:
        process = subprocess.Popen(
            [sys.executable, "-m", "qairt", *words], cwd=folder, stdout=output, stderr=output, env=environment
        )
    try:
        _wait_until_open(port, process)
        yield port, process, said
    finally:
        process.send_signal(signal.SIGINT)
        process.wait(20)


def free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return int(listener.getsockname()[1])


def _wait_until_open(port: int, process: subprocess.Popen[bytes]) -> None:
    def is_open() -> bool:
        assert process.poll() is None
        with socket.socket() as client:
            return client.connect_ex(("127.0.0.1", port)) == 0

    until(is_open)
