"""The plan: what a run would reuse and build, why, and how long it takes; or what is wrong with the recipe."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

from textual.app import ComposeResult
from textual.content import Content
from textual.message import Message
from textual.screen import Screen
from textual.widgets import Static
from textual.worker import Worker, WorkerState

from qairt.amounts import count
from qairt.engine.plan.planned import Plan
from qairt.engine.plan.why import Summary, summary
from qairt.project import PlanResult
from qairt.tui.keymap import bindings
from qairt.tui.lines.matrix import plain
from qairt.tui.lines.plan import (
    STATUS,
    PlanRow,
    PlanTable,
    RecipeFault,
    as_text,
    below_lines,
    faults_of,
    first_lines,
    head_lines,
    in_order,
    laid_out,
    next_order,
    note_lines,
    plan_table,
)
from qairt.tui.lines.runs import cut
from qairt.tui.screens.messages import EditRequested
from qairt.tui.terminal import clipboard
from qairt.tui.terminal.glyphs import Look
from qairt.tui.widgets.key_footer import KeyFooter
from qairt.tui.widgets.row_list import RowList

_VERDICT_COLUMN = 2


@dataclass(frozen=True)
class PlanChoice:
    """What the user chose to run of the recipe."""

    until: str | None = None
    """The last stage to run; None for all."""
    force: frozenset[str] = frozenset()
    """Stages to rebuild even if they are cached."""


Replan = Callable[[PlanChoice], PlanResult]
"""Plans again. Slow."""


class PlanScreen(Screen[None]):
    """A row for each stage and AR; `enter` starts the run.

    Args:
        name: of the recipe.
        planned: the plan, or why there is none.
        replan: called in a thread.
        choice: the selection that `planned` is for.
        jobs: items that run at once.
        memory: limit for all running items together, in bytes.
        readonly: nothing can be started or changed.
    """

    BINDINGS = bindings("plan")
    DEFAULT_CSS = """
    PlanScreen > #head { height: auto; max-height: 4; color: $title; text-style: bold; padding: 0 1; }
    PlanScreen > #heading { height: 1; color: $text-muted; text-style: bold; padding: 0 1; text-wrap: nowrap; }
    PlanScreen > RowList { padding: 0 1; min-height: 3; }
    PlanScreen > #reason { height: auto; max-height: 3; color: $text-muted; padding: 0 1; }
    PlanScreen > #below { height: auto; max-height: 25%; padding: 0 1; }
    PlanScreen > #notes { height: auto; max-height: 20%; padding: 0 1; text-wrap: nowrap; }
    """

    class StartRequested(Message):
        """Start the run."""

        def __init__(self, choice: PlanChoice) -> None:
            super().__init__()
            self.choice = choice

    class WhyRequested(Message):
        """Show why this item runs."""

        def __init__(self, stage: str, label: str) -> None:
            super().__init__()
            self.stage = stage
            self.label = label

    def __init__(
        self,
        look: Look,
        name: str,
        planned: PlanResult,
        replan: Replan,
        choice: PlanChoice = PlanChoice(),
        *,
        jobs: int = 1,
        memory: int = 0,
        readonly: bool = False,
    ) -> None:
        super().__init__()
        self._readonly = readonly
        self._look = look
        self._recipe_name = name
        self._replan = replan
        self._memory = memory
        self._jobs = jobs
        self._choice = choice
        self._requested = choice
        """What is being planned."""
        self._planned = planned
        self._table: PlanTable | None = None
        self._folded: frozenset[str] = frozenset()
        """Stages shown as one row."""
        self._order = ""
        """The column that the rows are sorted by."""
        self._summary: Summary | None = None
        self._faults: list[RecipeFault] = []
        self._head = Static(id="head", markup=False)
        self._heading = Static(id="heading", markup=False)
        self._rows = RowList()
        self._reason = Static(id="reason", markup=False)
        self._below = Static(id="below", markup=False)
        self._notes = Static(id="notes", markup=False)

    def compose(self) -> ComposeResult:
        yield self._head
        yield self._heading
        yield self._rows
        yield self._reason
        yield self._below
        yield self._notes
        yield KeyFooter()

    def on_mount(self) -> None:
        self._rows.focus()
        self._set_plan(self._planned)

    def on_resize(self) -> None:
        self._paint()

    @property
    def look(self) -> Look:
        return self._look

    @look.setter
    def look(self, look: Look) -> None:
        self._look = look
        self._paint()

    def show(self, planned: PlanResult) -> None:
        """Show a new plan of the whole recipe, such as after an edit; what was chosen here still applies."""
        self._set_plan(planned)
        if planned.plan is not None and self._choice != PlanChoice():
            self._plan_again(self._choice)

    def _set_plan(self, planned: PlanResult) -> None:
        self._planned = planned
        self._table, self._summary, self._faults = None, None, []
        if planned.plan is not None and planned.pipeline is not None:
            self._table = self._table_of(planned.plan)
            self._summary = summary(planned.plan, planned.pipeline.recipe)
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
        """A recipe with errors can only be edited and copied, one to look at not changed."""
        if self._readonly and action in ("run", "edit", "until", "force"):
            return False
        return self._table is not None or action not in ("run", "why", "until", "force")

    def action_run(self) -> None:
        self.post_message(self.StartRequested(self._choice))

    def action_why(self) -> None:
        if (row := self.selected) is not None:
            self.post_message(self.WhyRequested(row.stage, row.first.label))

    def action_edit(self) -> None:
        place = self._rows.highlighted
        if self._faults and place is not None:
            self.post_message(EditRequested(self._faults[place].line, self._faults[place].file))
            return
        recipe = self._planned.pipeline.recipe if self._planned.pipeline is not None else None
        row = self.selected
        line = recipe.line(("stages", row.stage)) if recipe is not None and row is not None else 0
        self.post_message(EditRequested(line))

    def action_until(self) -> None:
        if (row := self.selected) is not None and (plan := self._planned.plan) is not None:
            names = [planned.stage.name for planned in plan.stages]
            until = None if self._requested.until == row.stage else row.stage
            after = names[names.index(row.stage) + 1 :] if until is not None else ()
            self._plan_again(PlanChoice(until, self._requested.force.difference(after)))

    def action_force(self) -> None:
        if (row := self.selected) is not None:
            self._plan_again(replace(self._requested, force=self._requested.force ^ {row.stage}))

    def action_fold(self) -> None:
        """Show the selected stage as one row, or as one for each AR."""
        if (row := self.selected) is not None:
            self._fold(self._folded ^ {row.stage}, row.stage)

    def action_fold_all(self) -> None:
        """Fold every stage; if any is folded, open them all."""
        row, plan = self.selected, self._planned.plan
        if row is not None and plan is not None:
            every = frozenset(stage.stage.name for stage in plan.stages)
            self._fold(frozenset() if self._folded else every, row.stage)

    def _fold(self, folded: frozenset[str], stage: str) -> None:
        """The cursor stays on its stage."""
        plan = self._planned.plan
        if plan is None or self._table is None:
            return
        self._folded = folded
        self._table = self._table_of(plan)
        self._paint()
        self._rows.highlighted = next(at for at, row in enumerate(self._table.rows) if row.stage == stage)

    def action_sort(self) -> None:
        """Sort by the next column; the cursor stays on its row."""
        plan, selected = self._planned.plan, self.selected
        if plan is None or selected is None:
            return
        self._order = next_order(self._order, self._width)
        self._table = self._table_of(plan)
        self._paint()
        same = (selected.stage, selected.place)
        self._rows.highlighted = next(at for at, row in enumerate(self._table.rows) if (row.stage, row.place) == same)

    def _table_of(self, plan: Plan) -> PlanTable:
        table = plan_table(plan, jobs=self._jobs, memory=self._memory, folded=self._folded)
        return in_order(table, self._order)

    @property
    def _width(self) -> int:
        """Of a line, without margins and scroll bar."""
        return max(self.size.width - 3, 20)

    def action_copy(self) -> None:
        if self._table is None or self._summary is None:
            text = "\n".join(f"{fault.where}: {fault.what}\n  {fault.remedy}" for fault in self._faults) + "\n"
        else:
            look = Look()
            below = below_lines(self._table, self._summary, self._memory, look)
            text = as_text(self._head_lines(look), self._table, [*below, *self._note_lines(look)])
        self.notify(clipboard.copy(self.app, text), markup=False)

    def on_option_list_option_highlighted(self) -> None:
        self._paint_reason()

    # Planning again

    def _plan_again(self, choice: PlanChoice) -> None:
        """Plan in a thread; only the latest request counts."""
        self._requested = choice
        self._head.update("\n".join([*self._head_lines(self._look)[:1], "planning…"]))
        self.run_worker(lambda: self._replan(choice), thread=True, exclusive=True, exit_on_error=False)

    def on_worker_state_changed(self, event: Worker.StateChanged) -> None:
        if event.state is WorkerState.SUCCESS and isinstance(event.worker.result, PlanResult):
            planned = event.worker.result
            if planned.error is not None:  # the plan on the screen still holds
                self._requested = self._choice
                self.notify(str(planned.error), severity="error", markup=False)
                self._paint()
                return
            self._choice = self._requested
            self._set_plan(planned)
        elif event.state is WorkerState.ERROR:
            self._requested = self._choice
            self.notify(f"planning failed: {event.worker.error}", severity="error", markup=False)
            self._paint()

    # Painting

    def _paint(self) -> None:
        if not self.is_mounted or not self.size.width:
            return
        width = self._width
        first, *rest = self._head_lines(self._look)
        self._head.update("\n".join([cut(first, width, self._look), *rest]))
        if self._table is None or self._summary is None:
            self._heading.update("")
            self._rows.show([self._fault_line(fault) for fault in self._faults])
            self._below.update("")
            self._show_notes([])
        else:
            heading, rows = laid_out(self._table, width, self._look)
            self._heading.update(heading)
            self._rows.show([_line(row, cells) for row, cells in zip(self._table.rows, rows, strict=True)])
            self._below.update("\n".join(below_lines(self._table, self._summary, self._memory, self._look)))
            self._show_notes(first_lines(self._note_lines(self._look), width, self._look))
        self._paint_reason()

    def _show_notes(self, lines: list[str]) -> None:
        self._notes.update("\n".join(lines))
        self._notes.display = bool(lines)

    def _head_lines(self, look: Look) -> list[str]:
        if self._table is None or self._summary is None:
            several = len(self._faults)
            if any(fault.line for fault in self._faults):
                errors = f"{count(several, 'error')} in the recipe. Press e to open the selected one in the editor."
            else:
                keep = "keeps" if several == 1 else "keep"
                errors = f"{count(several, 'error')} {keep} the recipe from running. Press e to open it in the editor."
            return [look.text(f"plan  {plain(self._recipe_name)}"), errors]
        pipeline = self._planned.pipeline
        cache = str(pipeline.cache_dir) if pipeline is not None else ""
        lines = head_lines(self._recipe_name, cache, self._table, self._summary, self._memory, look)
        until, force = self._choice.until, sorted(self._choice.force)
        choices = [f"only up to {plain(until)}"] if until else []
        choices += [f"rebuilding {', '.join(map(plain, force))}"] if force else []
        return [*lines, look.text("; ".join(choices))] if choices else lines

    def _note_lines(self, look: Look) -> list[str]:
        pipeline = self._planned.pipeline
        return note_lines(pipeline.notes(), look) if pipeline is not None else []

    def _paint_reason(self) -> None:
        row = self.selected
        self._reason.update(self._look.text(f"{row.first.name}: {row.reason}") if row and row.to_run else "")

    def _fault_line(self, fault: RecipeFault) -> Content:
        text = self._look.text
        where = f"{fault.where}  " if fault.where else ""
        first = Content.assemble((f"{self._look.mark('failed')} ", "bold $state-failed"), (text(where), "bold"))
        return Content("\n").join([first + Content(text(fault.what)), Content(text(f"    {fault.remedy}"))])


def _line(row: PlanRow, cells: list[str]) -> Content:
    style = f"$state-{STATUS[row.verdict]}"
    return Content.assemble(*((cell, style) if place == _VERDICT_COLUMN else cell for place, cell in enumerate(cells)))
