"""The app over toy stages, for Pilot tests."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import toy_stages as toy
from textual.pilot import Pilot

from qairt.engine.pipeline import Pipeline
from qairt.engine.run.options import RunOptions
from qairt.engine.stage import register_stage
from qairt.llm import LLMPipeline
from qairt.project import Project
from qairt.tui.app import LaunchOptions, QairtApp
from qairt.tui.look import Appearance
from qairt.tui.settings import UserSettings
from qairt.tui.terminal.glyphs import Look

SIZE = (120, 36)
"""Of the terminal, in columns and rows."""

RECIPE = """model_id_or_path: nothing
cache_dir: {cache}
stages:
  source: {{text: hello}}
  fan: {{arn: [1, 2, 3], sleep: {sleep}{fan}}}
  upper: {{}}
  join: {{}}
"""


def write_toy_recipe(folder: Path, *, sleep: float = 0.0, fan: str = "", name: str = "toy.yaml") -> Path:
    """A recipe of toy stages, which must be registered by whoever reads it."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / name
    path.write_text(RECIPE.format(cache=folder / "cache", sleep=sleep, fan=f", {fan}" if fan else ""))
    return path


def toy_project(folder: Path, *, recipe: Path | None = None, jobs: int = 2, **options: Any) -> Project:
    """A project over that recipe."""
    for stage in (toy.Source, toy.Fan, toy.Upper, toy.Join):
        register_stage(stage)
    path = recipe or write_toy_recipe(folder, **options)

    def open_pipeline() -> Pipeline:
        return LLMPipeline.from_recipe(path)

    return Project(path, (), open_pipeline, folder / "cache", RunOptions(jobs=jobs, memory=10**9))


def toy_app(
    folder: Path,
    launch: LaunchOptions | None = None,
    project: Project | None = None,
    *,
    results: bool = False,
    **recipe: Any,
) -> QairtApp:
    """The app over toy stages.

    Args:
        results: whether it shows what a run made when it has ended; else the monitor stays.
    """
    appearance = Appearance(Look(), "qairt-dark", ansi_color=None, refresh=10.0)
    launch = replace(launch or LaunchOptions(), results=results)
    return QairtApp(project or toy_project(folder, **recipe), UserSettings(), appearance, launch)


async def until(pilot: Pilot[Any], holds: Callable[[], Any], seconds: float = 60.0) -> None:
    """Wait until something holds on the screen."""
    deadline = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < deadline, "it never came to hold"
        await pilot.pause(0.02)


def shown(app: QairtApp) -> str:
    """The screen as text."""
    return "\n".join("".join(segment.text for segment in strip) for strip in app.screen._compositor.render_strips())


def toasts(app: QairtApp) -> str:
    """The text of all notifications, before it is wrapped."""
    return "\n".join(toast.message for toast in app._notifications)
