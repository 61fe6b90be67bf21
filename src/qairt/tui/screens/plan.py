"""The plan: what a run would reuse and make, why, how long it takes; or what is wrong with the recipe."""

from __future__ import annotations

from collections.abc import Callable

from textual.app import ComposeResult
from textual.content import Content
from textual.message import Message
from textual.screen import Screen
from textual.widgets import Footer, Static
from textual.worker import Worker, WorkerState

from qairt.amounts import count
from qairt.engine.plan.why import Summary, summary
from qairt.project import Planned
from qairt.tui.keymap import bindings
from qairt.tui.lines.matrix import plain
from qairt.tui.lines.plan import (
    STATUS,
    Fault,
    PlanRow,
    PlanTable,
    as_text,
    below_lines,
    faults_of,
    head_lines,
    laid_out,
    plan_table,
)
from qairt.tui.lines.runs import cut
from qairt.tui.terminal import clipboard
from qairt.tui.terminal.glyphs import Look
from qairt.tui.widgets.row_list import RowList

Replan = Callable[[str | None, frozenset[str]], Planned]
"""Plans again: up to a stage or to the end, with stages that run though they are cached. Takes its time."""

_VERDICT = 2
"""The column whose colour says whether a row is reused."""


class PlanScreen(Screen[None]):
    """A row for each stage and AR; `enter` starts the run.

    Args:
        name: of the recipe.
        planned: the plan, or why there is none.
        replan: called in a thread of its own.
        memory: bytes that running items may use together.
        jobs: items at once.
        until: the stage that the plan ends with, if it was made so.
        force: the stages that it runs though they are cached.
    """

    BINDINGS = bindings("plan")
    DEFAULT_CSS = """
    PlanScreen > #head { height: auto; max-height: 4; color: $title; text-style: bold; padding: 0 1; }
    PlanScreen > #heading { height: 1; color: $text-muted; text-style: bold; padding: 0 1; text-wrap: nowrap; }
    PlanScreen > RowList { padding: 0 1; min-height: 3; }
    PlanScreen > #reason { height: auto; max-height: 3; color: $text-muted; padding: 0 1; }
    PlanScreen > #below { height: auto; max-height: 25%; padding: 0 1; }
    """

    class Run(Message):
        """The run is to start."""

        def __init__(self, until: str | None, force: frozenset[str]) -> None:
            super().__init__()
            self.until = until
            self.force = force

    class EditRecipe(Message):
        """The recipe, or the file that a fault is in, is to be opened at a line; 0 is its top."""

        def __init__(self, line: int, file: str = "") -> None:
            super().__init__()
            self.line = line
            self.file = file
            """Empty: the recipe."""

    class OpenWhy(Message):
        """Why this item runs is to be shown."""

        def __init__(self, stage: str, label: str) -> None:
            super().__init__()
            self.stage = stage
            self.label = label

    def __init__(
        self,
        look: Look,
        name: str,
        planned: Planned,
        replan: Replan,
        *,
        memory: int = 0,
        jobs: int = 1,
        until: str | None = None,
        force: frozenset[str] = frozenset(),
    ) -> None:
        super().__init__()
        self._look = look
        self._recipe_name = name
        self._replan = replan
        self._memory = memory
        self._jobs = jobs
        self._until = until
        self._force = force
        self._planned = planned
        self._asked: tuple[str | None, frozenset[str]] = (until, force)
        self._table: PlanTable | None = None
        self._sums: Summary | None = None
        self._faults: list[Fault] = []
        self._head = Static(id="head", markup=False)
        self._heading = Static(id="heading", markup=False)
        self._rows = RowList()
        self._reason = Static(id="reason", markup=False)
        self._below = Static(id="below", markup=False)

    def compose(self) -> ComposeResult:
        yield self._head
        yield self._heading
        yield self._rows
        yield self._reason
        yield self._below
        yield Footer(show_command_palette=False)

    def on_mount(self) -> None:
        self._rows.focus()
        self._take(self._planned)

    def on_resize(self) -> None:
        self._paint()

    @property
    def look(self) -> Look:
        return self._look

    @look.setter
    def look(self, look: Look) -> None:
        self._look = look
        self._paint()

    def show(self, planned: Planned) -> None:
        """Show another plan of the whole recipe, such as after it was edited; what was chosen here is chosen again."""
        self._take(planned)
        if planned.plan is not None and (self._until or self._force):
            self._plan_again(self._until, self._force)

    def _take(self, planned: Planned) -> None:
        self._planned = planned
        self._table, self._sums, self._faults = None, None, []
        if planned.plan is not None and planned.pipeline is not None:
            self._table = plan_table(planned.plan, jobs=self._jobs, memory=self._memory)
            self._sums = summary(planned.plan, planned.pipeline.recipe)
        elif planned.error is not None:
            self._faults = faults_of(planned.error)
        self.refresh_bindings()
        self._paint()

    @property
    def selected(self) -> PlanRow | None:
        """The row under the cursor; None while faults are shown."""
        place = self._rows.highlighted
        rows = self._table.rows if self._table is not None else ()
        return rows[place] if place is not None and place < len(rows) else None

    # Keys

    def check_action(self, action: str, parameters: tuple[object, ...]) -> bool | None:
        """While the recipe is wrong it can only be edited and copied."""
        return self._table is not None or action not in ("run", "why", "until", "force")

    def action_run(self) -> None:
        self.post_message(self.Run(self._until, self._force))

    def action_why(self) -> None:
        if (row := self.selected) is not None:
            self.post_message(self.OpenWhy(row.stage, row.first.label))

    def action_edit(self) -> None:
        place = self._rows.highlighted
        if self._faults and place is not None:
            self.post_message(self.EditRecipe(self._faults[place].line, self._faults[place].file))
            return
        recipe = self._planned.pipeline.recipe if self._planned.pipeline is not None else None
        row = self.selected
        line = recipe.line(("stages", row.stage)) if recipe is not None and row is not None else 0
        self.post_message(self.EditRecipe(line))

    def action_until(self) -> None:
        if (row := self.selected) is not None:
            until = self._asked[0]
            self._plan_again(None if until == row.stage else row.stage, self._asked[1])

    def action_force(self) -> None:
        if (row := self.selected) is not None:
            self._plan_again(self._asked[0], self._asked[1] ^ {row.stage})

    def action_copy(self) -> None:
        if self._table is None or self._sums is None:
            text = "\n".join(f"{fault.where}: {fault.what}\n  {fault.remedy}" for fault in self._faults) + "\n"
        else:
            look = Look()
            below = below_lines(self._table, self._sums, self._memory, look)
            text = as_text(self._head_lines(look), self._table, below)
        self.notify(clipboard.copy(self.app, text), markup=False)

    def on_option_list_option_highlighted(self) -> None:
        self._paint_reason()

    # Planning again

    def _plan_again(self, until: str | None, force: frozenset[str]) -> None:
        """Plan in a thread; the answer to the last question counts."""
        self._asked = (until, force)
        self._head.update("\n".join([*self._head_lines(self._look)[:1], "planning"]))
        self.run_worker(lambda: self._replan(until, force), thread=True, exclusive=True, exit_on_error=False)

    def on_worker_state_changed(self, event: Worker.StateChanged) -> None:
        if event.state is WorkerState.SUCCESS and isinstance(event.worker.result, Planned):
            planned = event.worker.result
            if planned.error is not None:  # the plan that is shown still holds
                self._asked = (self._until, self._force)
                self.notify(str(planned.error), severity="error", markup=False)
                self._paint()
                return
            self._until, self._force = self._asked
            self._take(planned)
        elif event.state is WorkerState.ERROR:
            self._asked = (self._until, self._force)
            self.notify(f"planning failed: {event.worker.error}", severity="error", markup=False)
            self._paint()

    # Painting

    def _paint(self) -> None:
        if not self.is_mounted or not self.size.width:
            return
        width = max(self.size.width - 3, 20)  # the margins, and the scrollbar
        first, *rest = self._head_lines(self._look)
        self._head.update("\n".join([cut(first, width, self._look), *rest]))
        if self._table is None or self._sums is None:
            self._heading.update("")
            self._rows.show([self._fault_line(fault) for fault in self._faults])
            self._below.update("")
        else:
            heading, rows = laid_out(self._table, width, self._look)
            self._heading.update(heading)
            self._rows.show([_line(row, cells) for row, cells in zip(self._table.rows, rows, strict=True)])
            self._below.update("\n".join(below_lines(self._table, self._sums, self._memory, self._look)))
        self._paint_reason()

    def _head_lines(self, look: Look) -> list[str]:
        if self._table is None or self._sums is None:
            told = f"{count(len(self._faults), 'fault')} in the recipe: nothing can run; e opens it at the selected one"
            return [look.text(f"plan  {plain(self._recipe_name)}"), told]
        pipeline = self._planned.pipeline
        cache = str(pipeline.cache_dir) if pipeline is not None else ""
        lines = head_lines(self._recipe_name, cache, self._table, self._sums, self._memory, look)
        choices = [f"up to {plain(self._until)}"] if self._until else []
        choices += [f"again: {', '.join(plain(stage) for stage in sorted(self._force))}"] if self._force else []
        return [*lines, look.text("only " + "; ".join(choices))] if self._until else [*lines, *choices]

    def _paint_reason(self) -> None:
        row = self.selected
        self._reason.update(self._look.text(f"{row.first.name}: {row.reason}") if row and row.to_run else "")

    def _fault_line(self, fault: Fault) -> Content:
        text = self._look.text
        where = f"{fault.where}  " if fault.where else ""
        first = Content.assemble((f"{self._look.mark('failed')} ", "bold $state-failed"), (text(where), "bold"))
        return Content("\n").join([first + Content(text(fault.what)), Content(text(f"    {fault.remedy}"))])


def _line(row: PlanRow, cells: list[str]) -> Content:
    style = f"$state-{STATUS[row.verdict]}"
    return Content.assemble(*((cell, style) if place == _VERDICT else cell for place, cell in enumerate(cells)))
