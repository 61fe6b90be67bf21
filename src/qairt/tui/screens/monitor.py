"""The monitor of one run: recipe, stages, profiler, log, and the selected item's details."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from pathlib import Path

from textual.app import ComposeResult
from textual.events import Key
from textual.screen import Screen
from textual.widget import Widget
from textual.widgets import Input

from qairt.engine.cache.entry import Entry
from qairt.engine.cache.sentences import when_cleared
from qairt.engine.plan.planned import PlannedItem
from qairt.engine.record.eta import SmoothEta, in_words
from qairt.engine.record.events import Event, ResourceSample
from qairt.engine.record.item_state import BUSY, ItemState
from qairt.engine.record.progress import finished_of_work, progress_of
from qairt.engine.record.sentences import failures, nothing_written
from qairt.engine.record.state import RunState
from qairt.engine.settings_in_force import RecipeValue
from qairt.tui.key import MonitorAction
from qairt.tui.keymap import bindings
from qairt.tui.lines.matrix import ItemKey
from qairt.tui.lines.refusals import refusals
from qairt.tui.screens.messages import ActionRequested
from qairt.tui.screens.monitor_panes import MonitorPanes
from qairt.tui.session import EngineSession
from qairt.tui.terminal.glyphs import Look
from qairt.tui.widgets.detail import Detail
from qairt.tui.widgets.key_footer import KeyFooter
from qairt.tui.widgets.log_view import LogView
from qairt.tui.widgets.matrix import StageMatrix
from qairt.tui.widgets.overall import OverallBar
from qairt.tui.widgets.profiler import ProfilerLine, ProfilerPane, disk_line
from qairt.tui.widgets.recipe_tree import RecipeTree
from qairt.tui.widgets.run_feed import RunFeed
from qairt.tui.widgets.status import StatusLine

FindItem = Callable[[str, str], tuple[PlannedItem | None, Entry | None, list[tuple[str, str]]]]
"""The plan of an item, its cache entry, and what the manifest says of it."""
FindLog = Callable[[ItemState], Path | None]

_CONNECTION = {"plan": "not running", "thread": "in this program", "host": "attached", "replay": "replay"}


class MonitorScreen(Screen[None]):
    """Five panes side by side, or fewer where the window is small.

    Args:
        name: of the recipe.
        find_item: called when the selection changes.
        find_log: the same, for the path of the item's log.
        events: what has happened in the run that is shown.
    """

    BINDINGS = bindings("monitor")
    HORIZONTAL_BREAKPOINTS: list[tuple[int, str]] | None = [(0, "-narrow"), (100, "-mid"), (160, "-wide")]  # noqa: RUF012 - as Textual declares it
    VERTICAL_BREAKPOINTS: list[tuple[int, str]] | None = [(0, "-short"), (30, "-tall")]  # noqa: RUF012
    DEFAULT_CSS = """
    MonitorScreen #pane-filter { display: none; padding: 0 1; background: $panel; }
    MonitorScreen.filtering #pane-filter { display: block; }
    MonitorScreen.-tall.-mid #line, MonitorScreen.-tall.-wide #line { display: none; }
    """

    def __init__(
        self, look: Look, name: str, find_item: FindItem, find_log: FindLog, events: Callable[[], Sequence[Event]]
    ) -> None:
        super().__init__()
        self._look = look
        self._recipe_name = name
        self._find_item = find_item
        self._find_log = find_log
        self._events = events
        self._eta = SmoothEta()
        self._shown_item: tuple[ItemKey, str] | None = None
        self._log: Path | None = None
        """Of the item."""
        self._sample: ResourceSample | None = None
        """The one the profiler shows."""
        self._solo = 0
        self._refused: dict[str, str] = {}
        """Which keys do something now; those not listed always do."""
        self._user_moved = False
        self._session: EngineSession | None = None
        self.state = RunState()
        self.status = StatusLine(look, id="status")
        self.overall = OverallBar(look, id="overall")
        self.recipe = RecipeTree(look, id="recipe")
        self.matrix = StageMatrix(look, id="stages")
        self.profiler = ProfilerPane(look, number="3", id="profiler")
        self.log_view = LogView(look=look, compact=True, id="log")
        self.detail = Detail(look, id="detail")
        self.feed = RunFeed(look, id="feed")
        self._body = MonitorPanes(self.recipe, self.matrix, self.profiler, self.log_view, self.detail, self.feed)
        self.line = ProfilerLine(look, id="line")
        self.filter_input = Input(placeholder="filter", id="pane-filter", compact=True)

    def compose(self) -> ComposeResult:
        yield self.status
        yield self.overall
        yield self._body
        yield self.line
        yield self.filter_input
        yield KeyFooter()

    @property
    def panes(self) -> tuple[Widget, ...]:
        """In the order of their numbers."""
        return self._body.panes

    def on_mount(self) -> None:
        for size, steps in zip(self.app.size, (self.HORIZONTAL_BREAKPOINTS, self.VERTICAL_BREAKPOINTS), strict=True):
            # Textual does this only after the first frame.
            self.add_class(max(step for step in steps or [] if step[0] <= size)[1])
        self.matrix.focus()

    def on_screen_resume(self) -> None:
        """The screen above it was closed: show at once what happened meanwhile."""
        if self._session is not None:
            self.show(self._session, time.time(), changed=True)

    # Showing

    def show(self, session: EngineSession, now: float, *, changed: bool) -> None:
        """Show the run as it is now.

        Args:
            changed: whether anything happened since the last call; otherwise only clocks advance.
        """
        if session is not self._session:
            self._session, self._user_moved = session, False
        state = self.state = session.state
        remark = session.remark or failures(state)
        self.status.look = self._look
        self.status.show(self._recipe_name, state, now, connection=_CONNECTION[session.kind], remark=remark)
        self._show_overall(state, now)
        self.matrix.show(state, now)
        self._arrange()
        if not self._user_moved:
            self._select_running(state)
        if state.last_sample is not self._sample:
            self._sample = state.last_sample
            if self.profiler.display:
                self.profiler.show(state)
            if self.line.display:
                self.line.show(state)
        self._show_item(changed)
        self._show_log_or_feed()
        if self.feed.display:
            self.feed.show(self._events(), self._said(self.selected) if self.selected else "")
        if self.log_view.display:
            self.log_view.refresh_from_file()
        if (refused := self._refusals()) != self._refused:  # refreshing rebuilds the footer
            self._refused = refused
            self.refresh_bindings()

    def show_recipe(self, values: RecipeValue | None) -> None:
        """Show the recipe's values; None while the recipe cannot be read."""
        self.recipe.show(values)

    def go_to(self, key: ItemKey) -> None:
        """Select an item; from then on the cursor is the user's."""
        self._user_moved = True
        self.matrix.select(key)

    def forget_item(self) -> None:
        """Look the selected item up again at the next refresh."""
        self._shown_item = None

    @property
    def look(self) -> Look:
        return self._look

    @look.setter
    def look(self, look: Look) -> None:
        self._look = look
        for widget in (
            self.recipe,
            self.matrix,
            self.profiler,
            self.log_view,
            self.feed,
            self.detail,
            self.line,
            self.overall,
        ):
            widget.look = look
        self._shown_item = None

    @property
    def selected(self) -> ItemState | None:
        key = self.matrix.selected_item
        return self.state.items.get(key) if key else None

    def _show_overall(self, state: RunState, now: float) -> None:
        done, total = finished_of_work(state)
        parts = [f"{done}/{total} items"]
        if cached := state.count("cached"):
            parts.append(f"{cached} cached")
        if on_demand := state.count("on_demand"):
            parts.append(f"{on_demand} on demand")
        if cleared := [item.cleared for item in state.items.values() if item.status == "cleared" and item.cleared]:
            what = when_cleared(max(cleared), now, "z")
            parts.append(what if len(cleared) == 1 else f"{len(cleared)} {what}")
        if state.status in ("running", "planned") and done < total:
            parts.append(f"{in_words(self._eta.at(state, now))} left")
        if on_disk := disk_line(state):
            parts.append(on_disk)
        self.overall.show(progress_of(state, now), " · ".join(parts))

    def _select_running(self, state: RunState) -> None:
        """Until the user moves the cursor, it follows the running items."""
        busy = [item for item in state.items.values() if item.status in BUSY]
        selected = self.selected
        if busy and (selected is None or selected.status not in BUSY):
            latest = max(busy, key=lambda item: item.started or 0.0)
            self.matrix.select((latest.stage, latest.label))

    def _show_item(self, changed: bool) -> None:
        item = self.selected
        if item is None:
            return
        shown = ((item.stage, item.label), item.status)
        if shown != self._shown_item:
            self._shown_item = shown
            self._log = self._find_log(item)
            self.log_view.open(self._log, item.name_and_host, self._said(item))
            self._show_log_or_feed()
        elif not changed and item.status not in BUSY:
            return
        if self.detail.display:
            planned, entry, manifest = self._find_item(item.stage, item.label)
            self.detail.show(item, planned, entry, self.state, manifest)

    def _said(self, item: ItemState) -> str:
        return nothing_written(item, self._log)

    def _show_log_or_feed(self) -> None:
        """While the item has written nothing, the feed of the run stands there."""
        self.set_class(not _has_text(self._log), "no-log")

    def on_stage_matrix_selected(self) -> None:
        self._show_item(changed=True)

    def on_stage_matrix_activated(self) -> None:
        self.action_request("open")

    # Keys

    def action_pane(self, number: int) -> None:
        """Go to a pane; one that is hidden for lack of space is shown alone."""
        pane: Widget = self.panes[number - 1]
        if pane is self.log_view and self.feed.display:
            pane = self.feed
        if self._solo or not pane.display:
            self._show_alone(number)
        if pane.can_focus:
            pane.focus()
        else:
            self.set_focus(None)

    def action_focus_next_pane(self) -> None:
        self._step_pane(1)

    def action_focus_previous_pane(self) -> None:
        self._step_pane(-1)

    def action_zoom(self) -> None:
        self._show_alone(self._focused_pane() or 2)

    def action_restore(self) -> None:
        self._show_alone(0)

    def action_reset_panes(self) -> None:
        self._show_alone(0)
        self.matrix.focus()

    def action_filter(self) -> None:
        self.add_class("filtering")
        self.filter_input.value = self.matrix.filter
        self.filter_input.focus()

    def action_back(self) -> None:
        if self.has_class("filtering") or self.matrix.filter:
            self.filter_input.value = ""
            self.matrix.filter = ""
            self.recipe.filter = ""
            self._leave_filter()
        elif self._solo:
            self.action_reset_panes()

    def on_input_changed(self, event: Input.Changed) -> None:
        if self.has_class("filtering"):
            self.matrix.filter = event.value
            self.recipe.filter = event.value

    def on_input_submitted(self, event: Input.Submitted) -> None:
        self._leave_filter()

    def on_key(self, event: Key) -> None:
        if self.focused is self.matrix and self.state.items:
            self._user_moved = True
        own = next((bindings for node, bindings in self._binding_chain if node is self), None)
        actions = {binding.action for binding in (own.key_to_bindings.get(event.key, ()) if own else ())}
        for request, reason in self._refusals().items():
            if f"request('{request}')" in actions:
                self.notify(reason)

    def action_manifest(self) -> None:
        self.action_pane(5)

    def action_request(self, action: MonitorAction) -> None:
        """Pass a key on to the app."""
        self.post_message(ActionRequested(action))

    def check_action(self, action: str, parameters: tuple[object, ...]) -> bool | None:
        """Hide keys from the footer while they do nothing."""
        return action != "request" or str(parameters[0]) not in self._refusals()

    # Inside

    def on_resize(self) -> None:
        self._arrange()
        self._invalidate()

    def on_stage_matrix_folded(self) -> None:
        self._arrange()

    def _arrange(self) -> None:
        self._body.give_room(solo=bool(self._solo), samples=bool(self.state.samples))

    def _invalidate(self) -> None:
        """Refresh panes that were hidden and may be visible now."""
        self._shown_item, self._sample = None, None

    def _refusals(self) -> dict[str, str]:
        starting = self.state.status == "planned" and self._session is not None and self._session.kind == "thread"
        return refusals(self.state, self.selected, starting=starting)

    def _show_alone(self, number: int) -> None:
        for each in range(1, 6):
            self.set_class(each == number, f"solo-{each}")
        self.set_class(bool(number), "solo", "alone")
        self._solo = number
        self._arrange()
        self._invalidate()

    def _focused_pane(self) -> int | None:
        for number, pane in enumerate(self.panes, start=1):
            if pane.has_focus or pane.has_focus_within:
                return number
        return None

    def _step_pane(self, step: int) -> None:
        number = (self._solo or self._focused_pane() or 2) + step
        while True:
            number = (number - 1) % 5 + 1
            if self._solo or self.panes[number - 1].display:
                self.action_pane(number)
                return
            number += step

    def _leave_filter(self) -> None:
        self.remove_class("filtering")
        self.matrix.focus()


def _has_text(log: Path | None) -> bool:
    try:
        return log is not None and log.stat().st_size > 0
    except OSError:
        return False
