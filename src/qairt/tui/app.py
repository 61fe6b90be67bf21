"""`QairtApp`: one recipe on the screen."""

from __future__ import annotations

import gc
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial

from textual.app import App, SystemCommand
from textual.binding import Binding
from textual.driver import Driver
from textual.filter import LineFilter
from textual.screen import Screen
from textual.timer import Timer
from textual.worker import Worker

from qairt.engine.record import events as ev
from qairt.engine.record.folder import RunFolder
from qairt.project import Project
from qairt.tui.actions.appearance import AppearanceActions
from qairt.tui.actions.clear import ClearActions
from qairt.tui.actions.copy import CopyActions
from qairt.tui.actions.leave import LeaveActions
from qairt.tui.actions.open import OpenActions
from qairt.tui.actions.plain_terminal import PlainTerminalActions
from qairt.tui.actions.plan import PlanActions
from qairt.tui.actions.requests import RequestActions
from qairt.tui.actions.results import ResultsActions
from qairt.tui.actions.start import StartActions
from qairt.tui.failure import write_traceback
from qairt.tui.key import MonitorAction
from qairt.tui.key_names import key_names
from qairt.tui.keymap import KEYS, bindings, scopes_of
from qairt.tui.look import Appearance
from qairt.tui.notifications import announce_end, is_recent, notify_of_events
from qairt.tui.recipe_watch import RecipeWatch
from qairt.tui.refresh import RefreshTimer
from qairt.tui.screens.ending import EndingScreen
from qairt.tui.screens.messages import ActionRequested, EditRequested, FilesChanged, OpenRunRequested, RecipeChanged
from qairt.tui.screens.plan import PlanScreen
from qairt.tui.session import EngineSession
from qairt.tui.settings import UserSettings
from qairt.tui.terminal.printable_filter import PrintableFilter
from qairt.tui.terminal.scrollbar import use_scrollbars
from qairt.tui.themes import VARIABLE_DEFAULTS, register_all
from qairt.tui.workspace import Workspace

_PLAN_DELAY = 1.0
"""Seconds until the recipe is planned when an active run is shown first."""
_RESIZE_SETTLED = 0.1
"""Seconds after the last change of the window's size."""
_CLOCK_INTERVAL = 1.0
"""Seconds between refreshes of what changes with time alone."""


@dataclass(frozen=True)
class LaunchOptions:
    """What the app does when it opens, and what it may do."""

    start: bool = False
    """Start the run as soon as it is planned."""
    host: bool = False
    """Run it in its own process."""
    attach: RunFolder | None = None
    """Show this run."""
    readonly: bool = False
    """Nothing can be started, requested or cleared."""
    results: bool = True
    """Show what a run made when it has ended well."""


class QairtApp(App[int]):
    """One recipe on the screen. Keys are served by action objects, which act on a `Workspace`.

    Args:
        project: the recipe and its cache directory.
        problems: what is wrong with the user's settings; shown once.
        driver: None for Textual's own.
    """

    TITLE = "qairt"
    BINDINGS = bindings("global")
    CSS = """
    Toast { max-width: 76; }
    .-ascii Toast { border-left: ascii $border; }
    .-ascii .box { border: ascii $border-focus; }
    .-ascii .-tall.-mid .pane, .-ascii .-tall.-wide .pane { border: ascii $border; }
    .-ascii .-tall.-mid .pane:focus, .-ascii .-tall.-wide .pane:focus { border: ascii $border-focus; }
    .-ascii .-tall.-mid #profiler, .-ascii .-tall.-wide #profiler { border: none; }
    .-ascii .-narrow #log, .-ascii .-short #log,
    .-ascii .-narrow #feed, .-ascii .-short #feed { border-top: ascii $border; }
    .-ascii .solo-1 #recipe, .-ascii .solo-2 #stages, .-ascii .solo-5 #detail { border: ascii $border-focus; }
    .-ascii CommandPalette SearchIcon { display: none; }
    .-ascii CommandPalette #--input, .-ascii CommandPalette CommandList { border: none; }
    """

    def __init__(
        self,
        project: Project,
        settings: UserSettings,
        appearance: Appearance,
        launch: LaunchOptions,
        *,
        problems: Sequence[str] = (),
        driver: type[Driver] | None = None,
    ) -> None:
        super().__init__(driver_class=driver, ansi_color=appearance.ansi_color)
        self._printable = PrintableFilter()
        self.project = project
        self.failure = ""
        """Why the screen had to close."""
        self._settings = settings
        self._appearance = appearance
        self._launch = launch
        self._problems = list(problems)
        self._repaint: Timer | None = None
        self._refreshed_at = 0.0
        self._refresh_timer = RefreshTimer(self, appearance.refresh, self._tick, spares=appearance.spares)
        self._recipe_watch = RecipeWatch(project, lambda files: self.post_message(FilesChanged(files)))
        workspace = self.workspace = Workspace(self, project, appearance.look, readonly=launch.readonly)
        self._plain_terminal = PlainTerminalActions(workspace, settings.editor)
        start = StartActions(workspace, own_process=launch.host)
        self._plan = PlanActions(workspace, start, self._plain_terminal, start_when_planned=launch.start)
        self._copy = CopyActions(workspace)
        self._appearance_actions = AppearanceActions(workspace, settings)
        self.leave_actions = LeaveActions(workspace)
        self._results = ResultsActions(workspace)
        self._open = OpenActions(workspace, self._plan, lambda: self._refresh_timer.rate)
        self._monitor_actions = self._actions_of_monitor()

    def get_line_filters(self) -> Sequence[LineFilter]:
        return [*super().get_line_filters(), self._printable]

    def _actions_of_monitor(self) -> dict[MonitorAction, Callable[[], None]]:
        requests = RequestActions(self.workspace, self._plan)
        clear = ClearActions(self.workspace, self._plan.plan_again)
        return {
            "open": self._open.open_selected,
            "why": self._plan.open_why,
            "log": self._open.open_log,
            "plan": self._plan.open_plan,
            "runs": self._open.open_runs,
            "cache": clear.open_cache,
            "clear": clear.clear_selected,
            "undo": clear.undo,
            "copy": self._copy.copy_selected,
            "copy_command": self._copy.copy_command,
            "stream": self._plain_terminal.stream,
            "stream_item": self._plain_terminal.stream_item,
            "cancel_item": requests.cancel_item,
            "cancel_run": requests.cancel_run,
            "pause": requests.pause_or_resume,
            "retry": requests.retry,
            "detach": self.leave_actions.detach,
            "results": self._results.open,
            "needs": self._open.open_needs,
        }

    # State

    @property
    def session(self) -> EngineSession:
        """The session of the run that is shown."""
        return self.workspace.run.session

    # Opening

    def get_theme_variable_defaults(self) -> dict[str, str]:
        return VARIABLE_DEFAULTS

    def on_mount(self) -> None:
        self.animation_level = "none"
        self._problems += register_all(self)
        if self._appearance.theme in self.available_themes:
            self.theme = self._appearance.theme
        else:
            self._problems.append(f"there is no theme {self._appearance.theme}: press t to choose one")
        self.set_keymap(self._settings.keys)
        use_scrollbars(self._appearance.look)
        self.set_class(self._appearance.look.ascii, "-ascii")
        self._refresh_timer.start()
        active = self._launch.attach or self.project.active_run()
        if active is not None:
            self._show_active(active)
        else:
            self._plan.plan_at_start()
        for problem in self._problems:
            self.notify(problem, severity="warning", markup=False, timeout=10)

    def _show_active(self, run: RunFolder) -> None:
        self.workspace.attach(run)
        host = run.host()
        if run is not self._launch.attach and host is not None and host.overrides != tuple(self.project.overrides):
            self._problems.append(f"showing run {run.id}, which is already running with other settings than yours")
        self.call_later(self._tick)  # the first frame shows it
        self.set_timer(_PLAN_DELAY, self._plan.plan_at_start)

    def on_ready(self) -> None:
        """Exclude everything loaded so far from garbage collection."""
        self._recipe_watch.start()
        gc.freeze()
        gc.enable()

    # Refreshing

    def _tick(self) -> None:
        if not self.is_running:
            return
        run = self.workspace.run
        events = run.poll()
        if run.session.kind != "replay" and is_recent(events):
            notify_of_events(self, events)
            ended = [event for event in events if isinstance(event, ev.RunFinished)]
            if ended:
                announce_end(self, self._settings, run.session.state)
                self._plan.plan_again()
                if ended[-1].status == "done" and self._launch.results and self.workspace.is_monitor_on_top:
                    self._results.open()
        error = run.take_error()
        if error is not None:
            self.notify(str(error), severity="error", markup=False, timeout=30)
        now = time.time()
        changed = bool(events) or error is not None
        if changed or now - self._refreshed_at >= _CLOCK_INTERVAL:
            self._refreshed_at = now
            self.workspace.refresh(changed=changed)

    def on_unmount(self) -> None:
        self._recipe_watch.stop()

    def on_app_blur(self) -> None:
        self._refresh_timer.slow_down()

    def on_app_focus(self) -> None:
        self._refresh_timer.start()

    def on_resize(self) -> None:
        """Repaint everything: the terminal may have lost lines on the way to a size that is the same again."""
        if self._repaint is not None:
            self._repaint.stop()
        self._repaint = self.set_timer(_RESIZE_SETTLED, self._repaint_all)

    def _repaint_all(self) -> None:
        if self.screen_stack:  # empty while the app closes
            self.screen.refresh()

    # Messages

    def on_action_requested(self, event: ActionRequested) -> None:
        self._monitor_actions[event.action]()

    def on_plan_screen_start_requested(self, event: PlanScreen.StartRequested) -> None:
        self._plan.start_chosen(event.choice)

    def on_plan_screen_why_requested(self, event: PlanScreen.WhyRequested) -> None:
        self._plan.open_why_of(event.stage, event.label)

    def on_ending_screen_command_requested(self, event: EndingScreen.CommandRequested) -> None:
        self._results.run(event.verb)

    def on_ending_screen_copy_requested(self, event: EndingScreen.CopyRequested) -> None:
        self.workspace.copy(event.text)

    def on_edit_requested(self, event: EditRequested) -> None:
        self._plan.edit(event.file, event.line)

    def on_recipe_changed(self, event: RecipeChanged) -> None:
        self._plan.plan_again()

    def on_files_changed(self, event: FilesChanged) -> None:
        if self.session.kind == "plan" or any(isinstance(screen, PlanScreen) for screen in self.screen_stack):
            self._plan.plan_changed(event.files)

    def on_open_run_requested(self, event: OpenRunRequested) -> None:
        self._open.open_run(event.run_id)

    def on_worker_state_changed(self, event: Worker.StateChanged) -> None:
        error = self.workspace.background.worker_changed(event.worker)
        if error is not None:
            self._handle_exception(error if isinstance(error, Exception) else RuntimeError(error))

    # Keys of every screen

    def action_help(self) -> None:
        self._appearance_actions.open_help()

    def action_theme(self) -> None:
        self._appearance_actions.open_themes()

    def action_change_theme(self) -> None:
        """Textual's palette calls this."""
        self.action_theme()

    def action_ascii(self) -> None:
        self._appearance_actions.toggle_ascii()

    def action_slower(self) -> None:
        self._refresh_timer.halve()

    def action_faster(self) -> None:
        self._refresh_timer.double()

    def action_leave(self) -> None:
        self._tick()  # the run may have ended since the last one
        self.leave_actions.leave()

    def action_copy_or_leave(self) -> None:
        if not self._copy.copy_selected_text():
            self.action_leave()

    async def action_back(self) -> None:
        if self.workspace.is_monitor_on_top:
            self.workspace.monitor.action_back()
        elif len(self.screen_stack) > 2:
            self.pop_screen()
        else:
            self.workspace.open_monitor()

    def get_key_display(self, binding: Binding) -> str:
        """A key as this terminal can show it."""
        ascii_only = self.workspace.look.ascii
        return key_names(binding.key, ascii=True) if ascii_only else super().get_key_display(binding)

    def get_system_commands(self, screen: Screen[object]) -> Iterator[SystemCommand]:
        """For the palette: everything that a key does on this screen now, in the pane that has the focus too."""
        places = (screen.focused, *(screen.focused.ancestors if screen.focused is not None else (screen, self)))
        for scope in (*scopes_of(screen), "global"):
            for key in KEYS[scope]:
                method = f"action_{key.action.partition('(')[0]}"
                place = next((place for place in places if hasattr(place, method)), None)
                if place is not None and key.action != "command_palette":
                    run = partial(self.call_later, self.run_action, key.action, place)
                    names = key_names(key.keys, ascii=self.workspace.look.ascii)
                    yield SystemCommand(key.label, f"{key.help} ({names})", run)

    # When the app itself fails

    def _handle_exception(self, error: Exception) -> None:
        """Close the screen and keep the traceback in a file; the run is not affected."""
        self.failure = write_traceback(error)
        if self.is_headless:  # tests need the exception
            super()._handle_exception(error)
            return
        self.exit(return_code=1)
