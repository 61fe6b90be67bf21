"""`python -m each_command`: commands of qairt in one process, with the toy stages; what each printed, as JSON."""

from __future__ import annotations

import contextlib
import ctypes
import io
import json
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from toy_cli import toys_and_main


class Said(NamedTuple):
    code: int
    out: str
    err: str


def without_rights_over_modes() -> None:
    """Before exec: from then on, the modes of files hold for root too."""
    ctypes.CDLL(None).prctl(24, 1)  # PR_CAPBSET_DROP, CAP_DAC_OVERRIDE; nothing to drop for another user


def said_by(folder: Path, *commands: Sequence[str]) -> list[Said]:
    """What each command prints in a folder, one after another."""
    done = subprocess.run(
        [sys.executable, "-m", "each_command", json.dumps(commands)],
        cwd=folder,
        capture_output=True,
        text=True,
        check=True,
        preexec_fn=without_rights_over_modes,
    )
    return [Said(*each) for each in json.loads(done.stdout)]


def _said(words: Sequence[str]) -> Said:
    out, err = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        code = toys_and_main(words)
    return Said(code, out.getvalue(), err.getvalue())


if __name__ == "__main__":
    print(json.dumps([_said(words) for words in json.loads(sys.argv[1])]))
