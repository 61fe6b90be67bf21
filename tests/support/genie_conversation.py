"""Genie's child with conversations: a query goes on from the one before, and a conversation can be saved and restored.

python -P genie_conversation.py FOLDER        as `qairt.toolchain.genie.child`, and

{"do": "save", "folder": "…"}                 {"status": 0}
{"do": "restore", "folder": "…"}              {"status": 0}
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Mapping
from ctypes import c_char_p, c_void_p
from pathlib import Path
from typing import Any

from qairt.toolchain.genie import child


class Conversation(child.Genie):
    """Never forgets by itself."""

    def save(self, folder: str) -> None:
        self.reply({"status": self._library.GenieDialog_save(self._dialog, folder.encode())})

    def restore(self, folder: str) -> None:
        self.reply({"status": self._library.GenieDialog_restore(self._dialog, folder.encode())})

    def _finish(self, status: int) -> None:
        self.reply({"status": status})


def conversation(config: Mapping[str, object], *requests: Mapping[str, Any]) -> list[list[int]]:
    """The tokens that each query of one dialog answered with."""
    from qairt.toolchain.genie import dialog as genie

    libraries = str(genie.require())
    lines = [json.dumps({"do": "create", "config": config}), *(json.dumps(request) for request in requests)]
    done = subprocess.run(
        [sys.executable, __file__, libraries],
        input="\n".join(lines) + "\n",
        env={**os.environ, "LD_LIBRARY_PATH": libraries, "PYTHONPATH": str(Path(child.__file__).parents[3])},
        capture_output=True,
        text=True,
        check=True,
    )
    answers: list[list[int]] = []
    tokens: list[int] = []
    for line in done.stdout.splitlines():
        reply = json.loads(line)
        if "token" in reply:
            tokens.append(reply["token"])
            continue
        assert reply["status"] == 0, (line, done.stderr)
        answers.append(tokens)
        tokens = []
    assert len(answers) == len(lines), done.stderr
    return [answer for answer, request in zip(answers[1:], requests, strict=True) if request["do"] == "query_tokens"]


if __name__ == "__main__":
    for name in ("GenieDialog_save", "GenieDialog_restore"):
        child.ARGUMENTS[name] = [c_void_p, c_char_p]
    child.Genie = Conversation  # type: ignore[misc]
    child.main()
