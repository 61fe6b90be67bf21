"""The README's pictures, from the program itself: `python tests/screenshots/make.py [RECIPE]`."""

from __future__ import annotations

import os
import pty
import re
import shutil
import subprocess
import sys
from pathlib import Path

from rich.console import Console
from rich.text import Text

WIDTH = 100
LINES = 34


def on_a_terminal(command: list[str]) -> str:
    """What a command prints when it stands in a terminal, colours and all."""
    parent, child = pty.openpty()
    environment = os.environ | {"COLUMNS": str(WIDTH), "LINES": "50", "TERM": "xterm-256color"}
    process = subprocess.Popen(command, stdout=child, stderr=child, stdin=subprocess.DEVNULL, env=environment)
    os.close(child)
    pieces = []
    while True:
        try:
            piece = os.read(parent, 65536)
        except OSError:  # the other end is closed
            break
        if not piece:
            break
        pieces.append(piece)
    process.wait()
    return b"".join(pieces).decode().replace("\r\n", "\n")


def picture(words: list[str], path: Path) -> None:
    program = shutil.which("qairt", path=str(Path(sys.executable).parent)) or "qairt"
    printed = on_a_terminal([program, *words]).splitlines()
    shown = printed[:LINES] + (["…"] if len(printed) > LINES else [])
    console = Console(record=True, width=WIDTH, file=open(os.devnull, "w"))  # noqa: SIM115
    console.print(Text(f"$ qairt {' '.join(words)}", style="bold"))
    console.print(Text.from_ansi("\n".join(shown)))
    svg = console.export_svg(title="qairt", unique_id="qairt")
    svg = re.sub(r"@font-face \{.*?\}\s*", "", svg, flags=re.DOTALL)  # any monospace font will do; fetch none
    svg = re.sub(r"<!--.*?-->\s*", "", svg, flags=re.DOTALL)
    path.write_text(svg)


if __name__ == "__main__":
    recipe = sys.argv[1] if len(sys.argv) > 1 else "recipes/smollm2-135m.yaml"
    picture(["plan", recipe], Path(__file__).with_name("plan.svg"))
