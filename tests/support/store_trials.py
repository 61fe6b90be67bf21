"""Kills at every point of an upload and of a fetch: `python -m store_trials push|fetch|count FOLDER [NUMBER]`.

A child adds the entries of a cache to a store, or fetches them, and kills itself with SIGKILL before the system call of
this number that changes a file. Nothing cleans up after it.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from shared_machines import Machine

from qairt.engine.cache.cache import StageCache
from qairt.engine.pulling import pull
from qairt.engine.shared_store.uploads import push

CHANGES = ("link", "replace", "rename", "fsync", "chmod", "unlink", "mkdir", "write")


def kill_before(number: int) -> list[int]:
    """Die before the change of this number; 0: never. Returns where changes are counted."""
    done = [0]

    def counted(real: Callable[..., Any]) -> Callable[..., Any]:
        def change(*words: Any, **more: Any) -> Any:
            done[0] += 1
            if done[0] == number:
                os.kill(os.getpid(), signal.SIGKILL)
            return real(*words, **more)

        return change

    for name in CHANGES:
        setattr(os, name, counted(getattr(os, name)))
    return done


def work(what: str, folder: Path) -> None:
    """Add what `folder/one` has to `folder/store`, or fetch it into `folder/two`."""
    url = f"file:{folder}/store"
    if what == "push":
        machine = Machine(folder / "one", url)
        cache, store = StageCache(machine.folder), machine.store()
        for entry in cache.entries():
            push(store, cache, entry)
    else:
        machine = Machine(folder / "two", url, mode="read")
        store = machine.store()
        pull(machine.pipeline(store), store)


def killed(what: str, folder: Path, number: int) -> bool:
    """Whether a child that does this work was killed before that change; False if it has fewer."""
    words = [sys.executable, "-m", "store_trials", what, str(folder), str(number)]
    code = subprocess.run(words, capture_output=True, timeout=120).returncode
    assert code in (0, -signal.SIGKILL), code
    return code != 0


def changes_of(what: str, folder: Path) -> int:
    """How many changes this work makes."""
    words = [sys.executable, "-m", "store_trials", what, str(folder), "0"]
    return int(subprocess.run(words, capture_output=True, check=True, text=True).stdout.split()[-1])


if __name__ == "__main__":
    counter = kill_before(int(sys.argv[3]))
    work(sys.argv[1], Path(sys.argv[2]))
    print(counter[0])
