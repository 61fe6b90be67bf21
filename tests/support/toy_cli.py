"""`python -m toy_cli …`: qairt's command line with the toy stages registered, for tests that need a child process."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Sequence

import toy_stages

from qairt.cli.main import main
from qairt.engine.stage import register_stage


def toys_and_main(words: Sequence[str]) -> int:
    for stage in (toy_stages.Source, toy_stages.Fan, toy_stages.Upper, toy_stages.Join):
        register_stage(stage)
    return main(words)


def command(*words: str) -> list[str]:
    """The command line that starts it in a child process."""
    return [sys.executable, "-m", "toy_cli", *words]


def start(*words: str) -> subprocess.Popen[str]:
    return subprocess.Popen(command(*words), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


if __name__ == "__main__":
    sys.exit(toys_and_main(sys.argv[1:]))
