"""The README's pictures, from the program itself.

    PYTHONPATH=tests/support python tests/screenshots/make.py [--cache DIR] [RECIPE]

Runs the recipe: first completely, unless the cache directory already holds the results, then again with a changed
setting. Takes minutes and needs the model. Names of this machine and its folders do not appear.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import pty
import re
import shutil
import socket
import subprocess
import sys
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

from animation import Screen, animated
from rich.console import Console
from rich.text import Text
from textual.pilot import Pilot
from toy_project import until
from wait import until_async

from qairt.engine.run.options import RunOptions
from qairt.llm import LLMPipeline
from qairt.project import Project
from qairt.report.gather import gather
from qairt.report.render import to_html
from qairt.tui.app import LaunchOptions, QairtApp
from qairt.tui.look import Appearance
from qairt.tui.screens.clear import ClearScreen
from qairt.tui.screens.plan import PlanScreen
from qairt.tui.screens.why import WhyScreen
from qairt.tui.settings import UserSettings
from qairt.tui.terminal.glyphs import Look

HERE = Path(__file__).parent
WIDTH = 100
LINES = 34
SCRATCH = Path("/tmp/qairt-pic")
SHOWN_AS = "/home/ada/work"
"""Shown in the pictures; as long as the name of the real folder."""
CHANGE = ("stages.generate_context_binary.optimization_level=2",)
"""The change that is planned after the first run."""
AGAIN = ("stages.split_model.num_splits=3",)
"""The change that is then run: everything from there on is rebuilt."""
SIZE = (120, 36)
FRAMES, BETWEEN = 18, 3.0
"""Number of frames of the recording, and seconds between them."""


def on_a_terminal(command: list[str]) -> str:
    """What a command prints on a terminal, including colours."""
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
    """What `qairt WORDS` prints."""
    printed = on_a_terminal([sys.executable, "-m", "qairt", *words]).splitlines()
    shown = printed[:LINES] + (["…"] if len(printed) > LINES else [])
    console = Console(record=True, width=WIDTH, file=open(os.devnull, "w"))  # noqa: SIM115
    console.print(Text(f"$ qairt {' '.join(words)}", style="bold"))
    console.print(Text.from_ansi("\n".join(shown)))
    path.write_text(without_fonts(console.export_svg(title="qairt", unique_id="qairt")))


def without_fonts(svg: str) -> str:
    """Any monospace font will do; fetch none."""
    svg = re.sub(r"@font-face \{.*?\}\s*", "", svg, flags=re.DOTALL)
    return re.sub(r"<!--.*?-->\s*", "", svg, flags=re.DOTALL)


class Pictured(QairtApp):
    """The app as it is, with pictures taken of it."""

    async def settle(self, pilot: Pilot[Any]) -> None:
        await pilot.pause(0.5)
        self.workspace.refresh(changed=True)
        await pilot.pause(0.2)

    def take(self, name: str) -> None:
        svg = self.export_screenshot(title="qairt")
        (HERE / f"{name}.svg").write_text(without_fonts(svg).replace(str(SCRATCH), SHOWN_AS))

    def frame(self) -> Screen:
        return [tuple(strip) for strip in self.screen._compositor.render_strips()]


def pictured(recipe: Path, words: tuple[str, ...], cache: Path, *, start: bool = False) -> Pictured:
    project = Project(recipe, words, lambda: LLMPipeline.from_recipe(recipe, words, cache), cache, RunOptions(jobs=2))
    appearance = Appearance(Look(), "qairt-dark", ansi_color=None, refresh=4.0)
    return Pictured(project, UserSettings(), appearance, LaunchOptions(start=start))


async def screens(recipe: Path, cache: Path) -> None:
    """The plan, why, and the dialog that clears."""
    app = pictured(recipe, CHANGE, cache)
    async with app.run_test(size=SIZE) as pilot:
        await until(pilot, lambda: isinstance(app.screen, PlanScreen))
        await app.settle(pilot)
        app.take("tui-plan")
        await pilot.press("escape")
        await app.settle(pilot)
        for item, key, kind, name in (
            ("generate_context_binary split3", "w", WhyScreen, "tui-why"),
            ("export all", "c", ClearScreen, "tui-clear"),
        ):
            app.workspace.monitor.matrix.select(tuple(item.split()))
            await app.settle(pilot)
            await pilot.press(key)
            await until(pilot, lambda kind=kind: isinstance(app.screen, kind))
            await app.settle(pilot)
            app.take(name)
            await pilot.press("escape")
            await app.settle(pilot)


async def run(recipe: Path, cache: Path) -> None:
    """The monitor, and the recording."""
    app = pictured(recipe, AGAIN, cache, start=True)
    frames: list[Screen] = []
    async with app.run_test(size=SIZE) as pilot:
        await until(pilot, lambda: app.session.state.count("running"))
        best = 0
        while app.workspace.run.is_active and len(frames) < FRAMES * 30:
            await pilot.pause(BETWEEN)
            frames.append(app.frame())
            busy = [item for item in app.session.state.items.values() if item.status == "running"]
            worth = sum(1 + (item.stage == "generate_context_binary") + bool(item.fraction) for item in busy)
            if worth >= best and app.screen is app.workspace.monitor:
                best = worth
                app.take("tui-monitor")
        await until(pilot, lambda: not app.workspace.run.is_active)
        await app.settle(pilot)
        frames.append(app.frame())
    chosen = [frames[place * (len(frames) - 1) // (FRAMES - 1)] for place in range(FRAMES)]
    svg = animated(chosen, SIZE[0], seconds=0.7)
    (HERE / "run.svg").write_text(svg.replace(str(SCRATCH), SHOWN_AS))


def forget_change(recipe: Path, cache: Path) -> None:
    """Remove what an earlier call built after the change."""
    usual = {item.key for item in LLMPipeline.from_recipe(recipe, (), cache).plan().items}
    changed = LLMPipeline.from_recipe(recipe, AGAIN, cache)
    for item in changed.plan().items:
        if item.entry is not None and item.key not in usual:
            shutil.rmtree(item.entry.directory)


async def server_listens() -> bool:
    with suppress(OSError):
        socket.create_connection(("localhost", 8765), 1).close()
        return True
    return False


async def in_a_browser(recipe: Path, cache: Path) -> None:
    """`qairt tui --serve` in chromium, where there is one."""
    import browser

    if browser.CHROMIUM is None:
        print("no chromium: serve.png is left as it is")
        return
    words = [sys.executable, "-m", "qairt", "tui", str(recipe), *CHANGE, "--cache-dir", str(cache)]
    server = subprocess.Popen([*words, "--serve", "--port", "8765"], stdout=subprocess.DEVNULL)
    try:
        await until_async(server_listens)
        async with browser.page("http://localhost:8765/", SCRATCH / "profile", (1180, 700)) as page:
            await page.until_shown("Help")
            await page.picture(HERE / "serve.png")
    finally:
        server.terminate()
        server.wait()


async def report_page(recipe: Path, cache: Path) -> None:
    """`qairt report` in chromium, where there is one: what the latest run left in `cache`."""
    import browser

    if browser.CHROMIUM is None:
        print("no chromium: report.png is left as it is")
        return
    found = gather(LLMPipeline.from_recipe(recipe, (), cache).cache, recipe.name)
    found = replace(
        found,
        run=found.run.model_copy(update={"host": "devbox"}),
        machine=[(name, "devbox" if name == "Machine" else value) for name, value in found.machine],
    )
    SCRATCH.mkdir(exist_ok=True)
    html = SCRATCH / "report.html"
    html.write_text(to_html(found, html.parent).replace(str(SCRATCH), SHOWN_AS))
    async with browser.page(html.as_uri(), SCRATCH / "report-profile", (1180, 1400)) as page:
        await page.until_loaded(html.as_uri())
        await page.picture(HERE / "report.png")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("recipe", nargs="?", default="recipes/smollm2-135m.yaml")
    parser.add_argument("--cache", type=Path, help="a cache directory that holds a run of the recipe")
    given = parser.parse_args()
    picture(["plan", given.recipe], HERE / "plan.svg")
    recipe = Path(given.recipe).absolute()
    shutil.rmtree(SCRATCH, ignore_errors=True)
    SCRATCH.mkdir()
    try:
        cache = SCRATCH / "qairt-cache"
        if given.cache:
            cache.symlink_to(given.cache.absolute())
            asyncio.run(report_page(recipe, cache))  # of the run that made it, not of the next, which reuses it
        words = [sys.executable, "-m", "qairt", "run", str(recipe), "--cache-dir", str(cache), "--no-tui"]
        subprocess.run(words, check=True)
        if not given.cache:
            asyncio.run(report_page(recipe, cache))
        forget_change(recipe, cache)
        socket.gethostname = lambda: "devbox"
        os.chdir(SCRATCH)
        asyncio.run(in_a_browser(recipe, cache))
        asyncio.run(screens(recipe, cache))
        asyncio.run(run(recipe, cache))
    finally:
        shutil.rmtree(SCRATCH, ignore_errors=True)


if __name__ == "__main__":
    main()
