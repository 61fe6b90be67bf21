"""What users have open beside it, in the same run: htop, and posting (another Textual program)."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

from tui_measure import QAIRT, Bench, Starts, load
from tui_times import compiled, recipe_of
from wait import pass_time

SIZE = (120, 36)
TIMES = 5


def compare(bench: Bench) -> None:
    """Start, and what standing still costs."""
    ours = (*QAIRT, "tui", str(recipe_of(bench)), "--cache-dir", str(compiled(bench)))
    _measure(bench, "qairt tui", ours, "31 cached")
    htop = shutil.which("htop")
    if htop:
        _measure(bench, "htop", (htop,), "Load average")
    else:
        bench.add("-", "htop", "", "not installed: apt-get install htop", None)
    posting = _posting(bench.folder / "posting")
    if posting:
        collection = bench.folder / "collection"
        collection.mkdir(exist_ok=True)
        _measure(bench, "posting", (str(posting), "--collection", str(collection)), "Collection")
    else:
        bench.add("-", "posting", "", "could not be installed", None)


def _posting(folder: Path) -> Path | None:
    program = folder / "bin" / "posting"
    if not program.exists():
        subprocess.run([sys.executable, "-m", "venv", str(folder)], check=True)
        install = [str(folder / "bin" / "python"), "-m", "pip", "install", "--quiet"]
        wanted = ["posting", "tree-sitter<0.26"]  # which crashes
        if subprocess.run([*install, *wanted], check=False, capture_output=True).returncode:
            return None
    return program


def _measure(bench: Bench, name: str, command: tuple[str, ...], shown: str) -> None:
    starts = Starts()
    for _ in range(TIMES):
        starts.time(bench.open(*command, size=SIZE, PYTHONPATH=""), shown)
    with bench.open(*command, size=SIZE, PYTHONPATH="") as terminal:
        terminal.wait_for(shown)
        pass_time(3)
        found = load(terminal, bench.seconds)
    bench.add("-", f"{name}: start, median of {TIMES}", "", str(starts), None)
    measured = f"{found.cpu:.1f} %, {found.bytes / 1e3:.1f} kB/s, {found.rss / 1e6:.0f} MB RSS"
    bench.add("-", f"{name}: idle at {SIZE[0]}x{SIZE[1]}", "", measured, None)
