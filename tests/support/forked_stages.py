"""Stages whose items say which process they ran in, and whether their modules were imported before it began."""

from __future__ import annotations

import os
import signal
import sys
from typing import ClassVar

import psutil
import toy_stages as toy
from wait import until

from qairt.engine.env import Env
from qairt.engine.stage import Batch, Context, Expansion, StageInput, Task

AHEAD = "wave"
"""A module of the standard library that nothing else imports."""


class Forked(toy.Stage[toy.FanConfig, StageInput, toy.Text]):
    name = "forked"
    axis_name = "ar"
    imported_ahead: ClassVar[tuple[str, ...]] = (AHEAD,)

    def labels(self, coord, env: Env):
        return self.config.arn

    def expand(self, batch: Batch, env: Env) -> Expansion:
        return Expansion([Task(coord=(("ar", ar),), sources=()) for ar in self.config.arn])

    def run(self, task: Task, context: Context[toy.FanConfig, StageInput]) -> toy.Text:
        if self.config.die_at == task.coord[0][1]:
            os.kill(os.getpid(), signal.SIGSEGV)
        path = context.directory / "text.txt"
        guard = os.getppid()
        with open(f"/proc/{guard}/stat") as stat:
            server = int(stat.read().rpartition(")")[2].split()[1])
        if self.config.suffix == "kill" and task.coord[0][1] == 1:
            os.kill(server, signal.SIGKILL)
            until(lambda: psutil.Process(guard).ppid() != server)
        print("to the item's log")
        path.write_text(f"{server} {AHEAD in sys.modules} {os.environ['OMP_NUM_THREADS']}")
        return toy.Text(text=path)


class Threaded(Forked):
    name = "threaded"
    imported_ahead: ClassVar[tuple[str, ...]] = ("thread_on_import",)
