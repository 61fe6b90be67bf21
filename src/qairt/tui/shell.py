"""What every part of the app builds on: the session that is shown, the clock, and work beside the screen."""

from __future__ import annotations

import gc
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from textual.app import App, SystemCommand
from textual.binding import Binding
from textual.screen import Screen
from textual.timer import Timer
from textual.widget import Widget
from textual.worker import Worker, WorkerState

from qairt.engine.cache.cache import Entry
from qairt.engine.plan.planned import PlannedItem
from qairt.engine.record import events as ev
from qairt.engine.record.folder import Action, RunFolder
from qairt.engine.record.state import ItemState, RunState
from qairt.errors import QairtError
from qairt.project import Planned, Project
from qairt.tui.failure import note_failure
from qairt.tui.key_names import key_names
from qairt.tui.keymap import KEYS, bindings, scopes_of
from qairt.tui.session import EngineSession, HostSession, PlanSession, ReplaySession, ThreadSession
from qairt.tui.settings import Settings
from qairt.tui.terminal import clipboard
from qairt.tui.terminal.glyphs import Look
from qairt.tui.terminal.scrollbar import use_scrollbars
from qairt.tui.terminal.streaming import Tell
from qairt.tui.themes import VARIABLE_DEFAULTS, register_all

if TYPE_CHECKING:
    from qairt.tui.screens.monitor import MonitorScreen

_FIRST_THE_RUN = 1.0  # seconds before the recipe of a run that is shown is planned
_SIZED = 0.1  # seconds after the last change of the window's size
_CLOCK = 1.0  # seconds between looks at what only time changes

T = TypeVar("T")


class Shell(App[int]):
    """One recipe on the screen.

    Args:
        project: the recipe and its cache directory.
        tell: the lines that an event is told in on a plain terminal.
        start: start the run as soon as it is planned.
        host: run it in a process of its own.
        attach: show this run.
        readonly: nothing can be started, asked or cleared.
        problems: what was wrong with the user's settings, to be said once.
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
    .-ascii .-narrow #log, .-ascii .-short #log { border-top: ascii $border; }
    .-ascii .solo-1 #recipe, .-ascii .solo-2 #stages, .-ascii .solo-5 #detail { border: ascii $border-focus; }
    .-ascii CommandPalette SearchIcon { display: none; }
    .-ascii CommandPalette #--input, .-ascii CommandPalette CommandList { border: none; }
    """

    def __init__(
        self,
        project: Project,
        settings: Settings,
        look: Look,
        *,
        tell: Tell,
        theme: str,
        refresh: float = 4.0,
        ansi_color: bool | None = None,
        start: bool = False,
        host: bool = False,
        attach: RunFolder | None = None,
        readonly: bool = False,
        problems: list[str] | None = None,
        driver_class: Any = None,
    ) -> None:
        super().__init__(driver_class=driver_class, ansi_color=ansi_color)
        self.project = project
        self.settings = settings
        self.look = look
        self.usual_look = replace(look, ascii=False, graph="braille" if look.ascii else look.graph)
        self.tell = tell
        self.start_at_once = start
        self.host = host
        self.readonly = readonly
        self.session: EngineSession = PlanSession(RunState(recipe=str(project.recipe)))
        self._monitor: MonitorScreen | None = None
        self.events: list[ev.Event] = []
        """Of the session that is shown, for the plain terminal."""
        self.failure: str = ""
        """Why the screen had to close, in words."""
        self.hung_up = False
        self._attach_to = attach
        self._theme_wanted = theme
        self._problems = list(problems or [])
        self.rate = refresh
        self._timer: Timer | None = None
        self._repaint: Timer | None = None
        self._clock = 0.0
        self._told_of: ThreadSession | None = None
        """Whose error was shown."""
        self.own_run: ThreadSession | None = None
        """The latest run of this program, whatever is shown now."""

    def get_theme_variable_defaults(self) -> dict[str, str]:
        return VARIABLE_DEFAULTS

    # Beginning

    def on_mount(self) -> None:
        self.animation_level = "none"
        self._problems += register_all(self)
        if self._theme_wanted in self.available_themes:
            self.theme = self._theme_wanted
        else:
            self._problems.append(f"there is no theme {self._theme_wanted}; key t shows those there are")
        self.set_keymap(self.settings.keys)
        use_scrollbars(self.look)
        self.set_class(self.look.ascii, "-ascii")
        self.set_rate(self.rate)
        going = self._attach_to or self.project.live()
        if going is not None:
            self.attach(going)
            host = going.host()
            if host is not None and going is not self._attach_to and host.overrides != tuple(self.project.overrides):
                self.notify(
                    f"run {going.id} is going and is shown; it has other settings than you gave", severity="warning"
                )
            self.set_timer(_FIRST_THE_RUN, self.plan_at_start)
        else:
            self.plan_at_start()
        for problem in self._problems:
            self.notify(problem, severity="warning", markup=False, timeout=10)

    def on_ready(self) -> None:
        """All that was made so far stays: the collector need not look at it."""
        gc.freeze()
        gc.enable()

    def on_resize(self) -> None:
        """The terminal may have lost lines on the way to a size that is the same again: send all of them."""
        if self._repaint is not None:
            self._repaint.stop()
        self._repaint = self.set_timer(_SIZED, self._send_all)

    def _send_all(self) -> None:
        if self.screen_stack:  # not while it closes
            self.screen.refresh()

    def set_rate(self, hertz: float) -> None:
        """Refresh the screen so often."""
        self.rate = hertz
        self._beat(hertz)

    def on_app_blur(self) -> None:
        """Nobody looks: once a second is enough."""
        self._beat(min(self.rate, 1.0))

    def on_app_focus(self) -> None:
        self._beat(self.rate)

    def _beat(self, hertz: float) -> None:
        if self._timer is not None:
            self._timer.stop()
        self._timer = self.set_interval(1 / hertz, self._tick)

    def get_key_display(self, binding: Binding) -> str:
        """A key as this terminal can show it."""
        return key_names(binding.key, ascii=True) if self.look.ascii else super().get_key_display(binding)

    # Sessions

    @property
    def monitor(self) -> MonitorScreen:
        """Made when it is first needed: a plan is shown sooner without it."""
        if self._monitor is None:
            from qairt.tui.screens.monitor import MonitorScreen

            self._monitor = MonitorScreen(self.look, self.project.name, self.find_item, self.find_log)
        return self._monitor

    def adopt(self, session: EngineSession) -> None:
        """Show another session. The one before is looked at no more, its run not touched."""
        if session is not self.session:
            self.session.close()
        self.session = session
        self.events = []
        if self._monitor is not None:
            self._monitor.forget_item()
        self._show(changed=True)

    def attach(self, run: RunFolder) -> None:
        """Follow a run that is going, or replay one that is over."""
        if run.liveness() in ("running", "unknown"):
            self.adopt(HostSession(run, readonly=self.readonly))
        else:
            self.adopt(ReplaySession(run))
        self.to_monitor()

    def to_monitor(self) -> None:
        """Show the monitor, and close what is above it."""
        if self.monitor.is_attached:
            while self.screen is not self.monitor:
                self.pop_screen()
        else:
            while len(self.screen_stack) > 1:
                self.pop_screen()
            self.push_screen(self.monitor)
            self.show_recipe(self.project.planned)
            self.monitor.call_after_refresh(self._show, changed=True)

    @property
    def going(self) -> bool:
        """Whether the run that is shown is going."""
        return self.session.kind in ("thread", "host") and (
            self.session.state.status == "running"
            or (isinstance(self.session, ThreadSession) and not self.session.over.is_set())
        )

    @property
    def owns_engine(self) -> bool:
        """Whether a run lives in this process: it must outlive the screen."""
        return isinstance(self.session, ThreadSession) and not self.session.over.is_set()

    def start_run(self, options: Any = None) -> None:
        """Start the planned run, here or in a process of its own."""
        pipeline = self.project.planned.pipeline
        if self.readonly:
            self.notify("this screen is for looking only (--readonly)", severity="warning")
        elif self.going:
            self.notify(f"run {self.session.state.run_id} is going already", severity="warning")
        elif pipeline is None:
            self.notify("the recipe cannot run: p shows why", severity="error")
        elif self.host:
            self.notify("starting it in a process of its own")
            self.work(partial(self.project.start_host, options), self._host_started)
        else:
            session = ThreadSession(pipeline, options or self.project.options, self.session.state)
            self.own_run = session
            self.adopt(session)
            self.run_worker(
                session.execute, name="engine", group="engine", thread=True, exclusive=True, exit_on_error=False
            )
            self.to_monitor()

    def _host_started(self, run: RunFolder) -> None:
        self.attach(run)

    # Provided by the parts

    def plan_at_start(self) -> None:
        """Plan, and show it unless a run is shown."""
        raise NotImplementedError

    def ask(self, action: Action, stage: str = "", label: str = "") -> None:
        """Ask something of the run; its answer is shown when it comes."""
        raise NotImplementedError

    def show_recipe(self, planned: Planned) -> None:
        """Show the recipe's values, once there is a place for them."""
        raise NotImplementedError

    def ask_plan(self) -> None:
        """Show the plan."""
        raise NotImplementedError

    def ask_why(self) -> None:
        """Show why the selected item runs."""
        raise NotImplementedError

    def edit_file(self, path: Path, line: int = 0) -> bool:
        """Open a file in the user's editor and wait; whether it could be opened."""
        raise NotImplementedError

    def plan_again(self) -> None:
        """Something changed: plan in the background."""
        raise NotImplementedError

    def find_item(self, stage: str, label: str) -> tuple[PlannedItem | None, Entry | None]:
        """What is planned for an item, and what is kept of it."""
        raise NotImplementedError

    def find_log(self, item: ItemState) -> Path | None:
        """The file of an item's log: of this run, or of the one that made it."""
        raise NotImplementedError

    # Work beside the screen

    def work(self, job: Callable[[], T], then: Callable[[T], None]) -> None:
        """Do something slow in a thread, then go on here with what it gave; a QairtError is shown."""
        self.run_worker(partial(_done, job, then), group="jobs", thread=True, exit_on_error=False)

    def on_worker_state_changed(self, event: Worker.StateChanged) -> None:
        worker = event.worker
        if worker.state is WorkerState.ERROR and worker.error is not None:
            if isinstance(worker.error, QairtError):
                self.notify(str(worker.error), severity="error", markup=False, timeout=10)
            else:
                self._handle_exception(
                    worker.error if isinstance(worker.error, Exception) else RuntimeError(worker.error)
                )
        elif worker.state is WorkerState.SUCCESS and worker.group == "jobs":
            result: Any = worker.result
            then, value = result
            if self.is_running:
                then(value)

    # Time

    def _tick(self) -> None:
        if not self.is_running:
            return
        came = self.session.poll()
        now = time.time()
        if came:
            self.events += [event for event in came if not isinstance(event, ev.ResourceSample)]
            self._react(came)
        changed = self._tell_error() or bool(came)
        if changed or now - self._clock >= _CLOCK:
            self._clock = now
            self._show(changed=changed)

    def _tell_error(self) -> bool:
        """Say once why a run here could not start, or ended without a last word."""
        session = self.session
        if not isinstance(session, ThreadSession) or session.error is None or session is self._told_of:
            return False
        self._told_of = session
        session.state.end_unexpectedly()
        self.notify(str(session.error), severity="error", markup=False, timeout=30)
        return True

    def _show(self, *, changed: bool) -> None:
        screen = self.screen
        now = time.time()
        if screen is self._monitor:
            self._monitor.show(self.session, now, changed=changed, remark=self._remark())
        elif (tick := getattr(screen, "tick", None)) is not None:
            tick(self.session.state, now)

    def _remark(self) -> str:
        waiting = self.session.pending
        if waiting:
            return f"{next(iter(waiting.values())).replace('_', ' ')} requested…"
        silent = getattr(self.session, "silent", 0.0)
        if silent:
            return f"no heartbeat for {silent:.0f} s"
        if getattr(getattr(self.session, "tail", None), "newer", False):
            return "written by a newer qairt: not all of it is shown"
        return ""

    def _react(self, came: list[ev.Event]) -> None:
        if self.session.kind == "replay":
            return
        if time.time() - came[0].time > 60:
            return  # the past, read again while attaching
        for event in came:
            match event:
                case ev.ItemFailedEvent():
                    what = event.error.get("what", "it failed")
                    self.notify(f"{event.stage} {event.label}: {what}", severity="error", markup=False, timeout=10)
                case ev.OutputWritten(status="failed"):
                    error = event.error or {}
                    told = f"{event.stage} {event.kind}: {error.get('what', 'it could not be written')}"
                    remedy = error.get("remedy")
                    told += f"\n{remedy}" if remedy else ""
                    self.notify(told, severity="error", markup=False, timeout=30)
                case ev.RequestAnswered():
                    self.notify(event.message, severity="information" if event.done else "warning", markup=False)
                case ev.LogLine() if event.level != "info":
                    self.notify(event.message, severity="warning", markup=False)
                case ev.RunFinished():
                    for line in self.tell(event):
                        self.notify(line, severity="information" if event.status == "done" else "warning", markup=False)
                    self.plan_again()

    # Keys of every screen

    def get_system_commands(self, screen: Screen[Any]) -> Iterator[SystemCommand]:
        """For the palette: everything that a key does on this screen."""
        for scope in (*scopes_of(screen), "global"):
            for key in KEYS[scope]:
                if key.action != "command_palette":
                    run = partial(self.call_later, self.run_action, key.action, screen if scope != "global" else self)
                    yield SystemCommand(key.says, f"{key.help} ({key_names(key.keys, ascii=self.look.ascii)})", run)

    def action_slower(self) -> None:
        self.set_rate(max(self.rate / 2, 0.5))
        self.notify(f"{self.rate:g} refreshes a second")

    def action_faster(self) -> None:
        self.set_rate(min(self.rate * 2, 8.0))
        self.notify(f"{self.rate:g} refreshes a second")

    async def action_back(self) -> None:
        if self.screen is self._monitor:
            self._monitor.action_back()
        elif len(self.screen_stack) > 2:
            self.pop_screen()
        else:
            self.to_monitor()

    def say_copied(self, text: str) -> None:
        self.notify(clipboard.copy(self, text), markup=False)

    def focused_widget(self) -> Widget | None:
        return self.screen.focused

    # When the screen itself fails

    def _handle_exception(self, error: Exception) -> None:
        """Close the screen, keep the traceback in a file; the run is not touched."""
        self.failure = note_failure(error)
        if self.is_headless:  # a test wants to see it
            super()._handle_exception(error)
            return
        self.exit(return_code=1)


def _done(job: Callable[[], T], then: Callable[[T], None]) -> tuple[Callable[[T], None], T]:
    return then, job()
