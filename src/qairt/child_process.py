"""Child processes: which Python they are, where it finds modules, and that none outlives its parent.

No Python of ours imports from the working directory: it could hold a `random.py` of anybody's.
"""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Callable

_PR_SET_PDEATHSIG = 1


def python_command(*arguments: str) -> list[str]:
    """The command of a child that is this Python: `-P` keeps the working directory, and the folder of a script, off
    its module path."""
    return [sys.executable, "-P", *arguments]


def python_path() -> dict[str, str]:
    """The environment entry `PYTHONPATH` for a child, made absolute; empty where none is set.

    An empty or relative entry means the working directory.
    """
    entries = [os.path.abspath(entry) for entry in os.environ.get("PYTHONPATH", "").split(os.pathsep) if entry]
    return {"PYTHONPATH": os.pathsep.join(entries)} if entries else {}


def python_environment() -> dict[str, str]:
    """This process's environment for a Python of ours; those that it starts in turn are as safe."""
    own = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    return own | python_path() | {"PYTHONSAFEPATH": "1"}


def ending_with_parent() -> Callable[[], None] | None:
    """For `preexec_fn`: the child is killed when the thread that started it ends, also while native code runs.

    Set before the child's program starts, and where the parent is gone by then, it does not start. None where the
    system cannot do it.
    """
    if sys.platform != "linux":
        return None
    import ctypes

    prctl, parent = ctypes.CDLL(None).prctl, os.getpid()  # looked up here: little may happen between fork and exec

    def end_with_parent() -> None:
        prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
        if os.getppid() != parent:
            os._exit(1)

    return end_with_parent
