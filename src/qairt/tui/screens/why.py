"""Why an item runs: the inputs of its key, compared with those of its latest cache entry."""

from __future__ import annotations

import time
from collections.abc import Callable

from textual.app import ComposeResult
from textual.content import Content
from textual.screen import Screen
from textual.widgets import Static

from qairt.engine.plan.planned import Plan, PlannedItem
from qairt.engine.plan.why import Difference, KeyDiff, key_diff
from qairt.errors import QairtError
from qairt.recipe.edit import LineChange, set_value
from qairt.recipe.recipe import Recipe
from qairt.tui.keymap import bindings
from qairt.tui.lines.why import as_text, below_lines, full, head_lines, laid_out, rows_of
from qairt.tui.screens.messages import EditRequested, RecipeChanged
from qairt.tui.screens.revert import RevertScreen
from qairt.tui.terminal import clipboard
from qairt.tui.terminal.glyphs import Look
from qairt.tui.widgets.key_footer import KeyFooter
from qairt.tui.widgets.row_list import RowList


class WhyScreen(Screen[None]):
    """What differs, root causes first; `u` sets a value of the recipe back.

    Args:
        recipe: of the plan.
        item: of the plan.
        clock: returns the time in seconds since the epoch.
        readonly: the recipe cannot be changed.
    """

    BINDINGS = bindings("why")
    DEFAULT_CSS = """
    WhyScreen > #head { height: auto; max-height: 5; color: $title; text-style: bold; padding: 0 1; }
    WhyScreen > #heading { height: 1; color: $text-muted; text-style: bold; padding: 0 1; text-wrap: nowrap; }
    WhyScreen > RowList { padding: 0 1; min-height: 3; }
    WhyScreen > #full { height: auto; max-height: 4; padding: 0 1; }
    WhyScreen > #below { height: auto; max-height: 25%; color: $text-muted; padding: 0 1; }
    """

    def __init__(
        self,
        look: Look,
        plan: Plan,
        recipe: Recipe,
        item: PlannedItem,
        clock: Callable[[], float] = lambda: time.time(),
        *,
        readonly: bool = False,
    ) -> None:
        super().__init__()
        self._readonly = readonly
        self._clock = clock
        self._look = look
        self._plan = plan
        self._recipe = recipe
        self._item = item
        self._everything = False
        self._diff: KeyDiff = key_diff(plan, item, recipe)
        self._shown: list[Difference] = []
        self._head = Static(id="head", markup=False)
        self._heading = Static(id="heading", markup=False)
        self._rows = RowList()
        self._full = Static(id="full", markup=False)
        self._below = Static(id="below", markup=False)

    def compose(self) -> ComposeResult:
        yield self._head
        yield self._heading
        yield self._rows
        yield self._full
        yield self._below
        yield KeyFooter()

    def on_mount(self) -> None:
        self._rows.focus()
        self._paint()

    def on_resize(self) -> None:
        self._paint()

    @property
    def look(self) -> Look:
        return self._look

    @look.setter
    def look(self, look: Look) -> None:
        self._look = look
        self._paint()

    def show(self, plan: Plan, recipe: Recipe) -> None:
        """Show the same item in a new plan, or the first that runs if it is no longer there."""
        found = next((item for item in plan.items if item.name == self._item.name), None)
        item = found or next(iter(plan.to_run()), None)
        if item is not None:
            self._plan, self._recipe = plan, recipe
            self._show_item(item)

    @property
    def item(self) -> PlannedItem:
        """The item on the screen."""
        return self._item

    @property
    def selected(self) -> Difference | None:
        """The row under the cursor."""
        place = self._rows.highlighted
        return self._shown[place] if place is not None and place < len(self._shown) else None

    # Keys

    def action_all(self) -> None:
        self._everything = not self._everything
        self._paint()

    def action_cause(self, step: int) -> None:
        """Go to the next (1) or previous (-1) item that runs, wrapping around."""
        to_run = self._plan.to_run()
        if not to_run:
            self.notify("no other item will run")
            return
        names = [item.name for item in to_run]
        place = names.index(self._item.name) + step if self._item.name in names else 0
        self._show_item(to_run[place % len(to_run)])

    def check_action(self, action: str, parameters: tuple[object, ...]) -> bool | None:
        """Hide keys that change the recipe on a read-only screen."""
        return not (self._readonly and action in ("revert", "edit"))

    def action_edit(self) -> None:
        row = self.selected
        self.post_message(EditRequested(self._recipe.line(row.path or row.field.split(".")) if row else 0))

    def action_copy(self) -> None:
        text = as_text(self._diff, self._clock(), self._expected(), everything=self._everything)
        self.notify(clipboard.copy(self.app, text), markup=False)

    def action_revert(self) -> None:
        row = self.selected
        if row is None:
            return
        if (refused := _refused(row)) or self._recipe.source is None:
            self.notify(refused or "the recipe was not read from a file", severity="warning", markup=False)
            return
        try:
            change = set_value(self._recipe.source, row.path, row.before)
        except QairtError as error:
            self.notify(str(error), severity="warning", markup=False)
            return

        def answered(yes: bool | None) -> None:
            if yes:
                self._write(change)

        self.app.push_screen(RevertScreen(change, self._look), answered)

    def on_option_list_option_highlighted(self) -> None:
        self._paint_full()

    # Inside

    def _write(self, change: LineChange) -> None:
        try:
            change.apply()
        except QairtError as error:
            self.notify(str(error), severity="error", markup=False)
            return
        self.notify(f"{change.file.name}:{change.line} was changed; planning again", markup=False)
        self.post_message(RecipeChanged())

    def _show_item(self, item: PlannedItem) -> None:
        self._item = item
        self._diff = key_diff(self._plan, item, self._recipe)
        self._rows.highlighted = None
        self._paint()

    def _paint(self) -> None:
        if not self.is_mounted or not self.size.width:
            return
        look, diff = self._look, self._diff
        self._head.update("\n".join(head_lines(diff, self._clock(), look)))
        self._shown = rows_of(diff, everything=self._everything)
        heading, lines = laid_out(self._shown, max(self.size.width - 3, 20), look)
        self._heading.update(heading)
        self._rows.show([_line(row, line) for row, line in zip(self._shown, lines, strict=True)])
        below = below_lines(diff, self._expected(), everything=self._everything, look=look)
        self._below.update("\n".join(below))
        self._paint_full()

    def _paint_full(self) -> None:
        row = self.selected
        self._full.update(full(row, self._look) if row is not None else "")

    def _expected(self) -> tuple[float, float, float]:
        return self._item.seconds, self._item.expected.low, self._item.expected.high


def _line(row: Difference, text: str) -> Content:
    if row.same:
        return Content.styled(text, "$text-muted")
    return Content.styled(text, "bold $state-stale") if row.root else Content(text)


def _refused(row: Difference) -> str:
    """Why a row cannot be set back in the recipe; empty when it can."""
    if row.same:
        return f"{row.field} did not change"
    if row.path:
        return ""
    if row.field.startswith("input "):
        return f"{row.field.removeprefix('input ')} only passes the change on: select its root cause"
    if row.origin == "command line":
        return f"{row.field} was given on the command line: remove it there"
    if row.origin == "default":
        return f"the recipe does not set {row.field}: add {row.cached} there"
    return f"{row.field} cannot be set back here: it comes from {row.origin}"
