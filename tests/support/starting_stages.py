"""A stage whose item starts a program as compilers are started, which starts another one in a session of its own."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from pathlib import Path

import toy_stages as toy

from qairt.child_process import python_command, python_environment
from qairt.engine.stage import Context, Expansion, StageConfig, StageInput, Task
from qairt.toolchain.vendor_process import failure, run

PROGRAM = """
import os, pathlib, subprocess, sys, time
inner = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"], start_new_session=True)
pathlib.Path(sys.argv[1]).write_text(f"{os.getpid()} {inner.pid}")
time.sleep(float(sys.argv[2]))
"""


class StartsConfig(StageConfig):
    pids: Path
    """Gets the processes of the item: worker, program, and what that started."""
    seconds: float = 600.0
    """How long the program runs; the one that it started runs on."""
    through_run: bool = True
    """Started as a compiler is; else simply left behind."""


class Starts(toy.Stage[StartsConfig, StageInput, toy.Text]):
    name = "starts"

    def expand(self, batch, env) -> Expansion:
        return Expansion([Task(coord=(), sources=())])

    def run(self, task: Task, context: Context[StartsConfig, StageInput]) -> toy.Text:
        own = context.config.pids.with_suffix(".program")
        command = python_command("-c", PROGRAM, str(own), str(context.config.seconds))
        if context.config.through_run:
            context.config.pids.write_text(f"{os.getpid()}")
            run(command, cwd=context.directory, env=python_environment())
        else:
            subprocess.Popen(command, start_new_session=True)
            while not own.exists() or not own.read_text():
                pass
        path = context.directory / "text.txt"
        path.write_text(own.read_text())
        return toy.Text(text=path)


class HogConfig(toy.FanConfig):
    killed: int = 1
    """How often the item at AR 2 is ended as the system ends a process when memory runs out."""
    how: str = "killed"
    attempts: Path
    """Gets a line per attempt: the items that run beside it."""


class Hog(toy.Stage[HogConfig, toy.TextInput, toy.Text]):
    """A fan whose item at AR 2 uses much memory, and is killed for it."""

    name = "hog"
    axis_name = "ar"
    labels, expand = toy.Fan.labels, toy.Fan.expand

    def run(self, task: Task, context: Context[HogConfig, toy.TextInput]) -> toy.Text:
        ar = toy.value_of(task.coord, "ar")
        running = context.config.attempts.with_suffix(f".running{ar}")
        if ar != 2:
            running.touch()
            time.sleep(0.8)
            running.unlink()
            return toy.Fan.run(self, task, context)
        held = bytearray(b"x") * 150_000_000
        with context.config.attempts.open("a") as file:
            file.write(f"{sorted(path.suffix for path in running.parent.glob('*.running*'))} {len(held)}\n")
        if len(context.config.attempts.read_text().splitlines()) <= context.config.killed:
            time.sleep(1.2)  # seen from outside
            if context.config.how == "killed":
                os.kill(os.getpid(), signal.SIGKILL)
            elif context.config.how == "compiler":
                ended = run(["sh", "-c", "kill -9 $$"], cwd=context.directory, env=dict(os.environ))
                raise failure("the compiler", ended, where="x.bin")
            raise MemoryError
        return toy.Fan.run(self, task, context)
