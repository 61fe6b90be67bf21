"""A stage whose item starts a program as compilers are started, which starts another one in a session of its own."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import toy_stages as toy

from qairt.child_process import python_command, python_environment
from qairt.engine.stage import Context, Expansion, StageConfig, StageInput, Task
from qairt.toolchain.vendor_process import run

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
