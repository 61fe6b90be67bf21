"""What can be done with a run's results, without leaving the screen."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path

from qairt.engine.cache.cache import StageCache
from qairt.engine.run.ending import ending_of
from qairt.errors import QairtError
from qairt.tui.command import RunningCommand
from qairt.tui.screens.ending import EndingScreen, Verb
from qairt.tui.workspace import Workspace

_ABOUT_PROMPT = "The quantized graphs answer it on this machine, in ONNX Runtime."
_ABOUT_FOLDER = "A new or empty folder, which gets what a device needs; a relative path starts at {}."


class ResultsActions:
    """Shows the end of the run, and runs commands about its results one at a time."""

    def __init__(self, workspace: Workspace) -> None:
        self._workspace = workspace
        self._command: RunningCommand | None = None

    def open(self) -> None:
        """Show what the run made."""
        workspace = self._workspace
        state = workspace.run.session.state
        if state.status in ("planned", "running"):
            workspace.app.notify("the run has not ended: its results are shown then")
            return
        screen = EndingScreen(workspace.look, workspace.project.name, state)
        workspace.app.push_screen(screen)
        cache = StageCache(workspace.project.cache_dir)
        workspace.background.run(partial(ending_of, state, cache), screen.show_ending)
        self._load_quality(screen)

    def run(self, verb: Verb) -> None:
        """Run a command, after asking for what it needs; if it is already running, show it."""
        app = self._workspace.app
        if self._command is not None and self._command.exit_code is None:
            if self._command.verb != verb:
                app.notify(f"{self._command.verb} is still running: cancel it there, or wait", severity="warning")
            self._show(self._command)
        elif self._workspace.is_refused():
            return
        elif verb == "generate":
            self._ask("Generate", _ABOUT_PROMPT, "", partial(self._start, verb))
        elif verb == "export":
            folder = f"{self._workspace.project.recipe.stem}-bundle"
            self._ask("Export to", _ABOUT_FOLDER.format(Path.cwd()), folder, partial(self._start, verb))
        else:
            self._start(verb)

    def _ask(self, title: str, about: str, value: str, then: Callable[[str], None]) -> None:
        from qairt.tui.screens.ask import AskScreen

        def answered(answer: str | None) -> None:
            if answer is not None:
                then(answer)

        self._workspace.app.push_screen(AskScreen(title, about, value), answered)

    def _start(self, verb: Verb, *words: str) -> None:
        project = self._workspace.project
        recipe, *rest = project.command(verb)[1:]
        try:
            self._command = RunningCommand([verb, recipe, *words, *rest], project.state_folder / f"{verb}.log")
        except QairtError as error:
            self._workspace.app.notify(str(error), severity="error", markup=False, timeout=10)
            return
        self._show(self._command)

    def _show(self, command: RunningCommand) -> None:
        from qairt.tui.screens.command import CommandScreen

        title = f"qairt {command.verb} {self._workspace.project.name}"
        self._workspace.app.push_screen(CommandScreen(command, title, self._workspace.look), self._shown)

    def _shown(self, _: None) -> None:
        """Back from a command: it may have measured something."""
        screen = self._workspace.app.screen
        if isinstance(screen, EndingScreen):
            self._load_quality(screen)

    def _load_quality(self, screen: EndingScreen) -> None:
        pipeline = self._workspace.project.planned.pipeline
        if pipeline is None:
            screen.show_quality(())
        else:
            self._workspace.background.run(partial(self._workspace.project.find_quality, pipeline), screen.show_quality)
