"""The runs of a cache directory: open, compare and delete them."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import ClassVar

from rich.text import Text
from textual import work
from textual.app import ComposeResult
from textual.message import Message
from textual.screen import Screen
from textual.widgets import DataTable, Input, Static
from textual.worker import Worker, WorkerState

from qairt.engine.record.runs import delete_run, find_folder, run_summaries
from qairt.engine.record.summary import RunSummary
from qairt.errors import QairtError
from qairt.files import write_atomic
from qairt.tui.keymap import bindings
from qairt.tui.lines.runs import (
    STATUS,
    Order,
    Table,
    as_markdown,
    as_text,
    cut,
    detail,
    in_order,
    plain,
    recipe_name,
    table,
)
from qairt.tui.screens.compare import CompareScreen
from qairt.tui.screens.delete_run import DeleteRunScreen
from qairt.tui.screens.messages import OpenRunRequested
from qairt.tui.terminal.clipboard import copy
from qairt.tui.terminal.glyphs import Look
from qairt.tui.widgets.key_footer import KeyFooter

_RELOAD_SECONDS = 5.0


class RunTable(DataTable[Text], inherit_bindings=False):
    """The list. Its only keys are those that move the cursor."""

    BINDINGS = bindings("list")
    COMPONENT_CLASSES: ClassVar[set[str]] = {f"run-table--{status}" for status in STATUS}
    DEFAULT_CSS = """
    RunTable { height: 1fr; background: $background; overflow-x: hidden; }
    RunTable:focus { background-tint: $foreground 0%; }
    RunTable.-ascii { scrollbar-size-vertical: 0; }
    RunTable > .run-table--running { color: $state-running; text-style: bold; }
    RunTable > .run-table--done { color: $state-done; }
    RunTable > .run-table--failed { color: $state-failed; text-style: bold; }
    RunTable > .run-table--interrupted, RunTable > .run-table--unknown { color: $state-interrupted; }
    """


class RunsScreen(Screen[None]):
    """Finished and active runs.

    Args:
        state_folder: `pipeline_state/` of the cache directory.
        readonly: nothing can be deleted or exported.
    """

    BINDINGS = bindings("runs")
    TITLE = "runs"
    DEFAULT_CSS = """
    RunsScreen > #head { height: 1; color: $title; text-style: bold; }
    RunsScreen > #detail { height: 1; color: $text-muted; }
    RunsScreen > #filter { height: 1; border: none; padding: 0; display: none; }
    RunsScreen > #filter.-open { display: block; }
    """

    class _Read(Message):
        def __init__(self, runs: list[RunSummary]) -> None:
            super().__init__()
            self.runs = runs

    def __init__(self, state_folder: Path, look: Look, *, readonly: bool = False) -> None:
        super().__init__()
        self._state_folder = state_folder
        self._readonly = readonly
        self._look = look
        self._runs: list[RunSummary] | None = None
        self._reading = False
        self._stale = False
        """Something changed since the current read began."""
        self._shown: list[RunSummary] = []
        self._marked: list[str] = []
        self._filter = ""
        self._order = Order()
        self._head = Static(id="head", markup=False)
        self._table = RunTable(cursor_type="row", cell_padding=0, zebra_stripes=False)
        self._table.set_class(look.ascii, "-ascii")
        self._detail = Static(id="detail", markup=False)
        self._input = Input(placeholder="filter runs", id="filter")

    def compose(self) -> ComposeResult:
        yield self._head
        yield self._table
        yield self._detail
        yield self._input
        yield KeyFooter()

    def on_mount(self) -> None:
        self._table.focus()
        self._show()
        self._read()
        self.app.theme_changed_signal.subscribe(self, lambda _: self._show())
        self.set_interval(_RELOAD_SECONDS, self._reload)

    def on_screen_resume(self) -> None:
        if self._runs is not None:
            self._read()

    def on_resize(self) -> None:
        self._show()

    # Reading

    def _read(self) -> None:
        """Read the runs again. One thread at a time, since a thread cannot be cancelled and they would pile up."""
        self._stale = self._reading
        if not self._reading:
            self._reading = True
            self._read_in_thread()

    @work(thread=True, exit_on_error=False)
    def _read_in_thread(self) -> None:
        self.post_message(self._Read(run_summaries(self._state_folder)))

    def _reload(self) -> None:
        if self.is_current and any(run.state == "running" for run in self._runs or ()):
            self._read()

    def on_runs_screen__read(self, message: _Read) -> None:
        self._reading = False
        if self._stale:
            self._read()
        self._runs = message.runs
        self._marked = [run_id for run_id in self._marked if any(run.id == run_id for run in message.runs)]
        self._show()

    def on_worker_state_changed(self, event: Worker.StateChanged) -> None:
        if event.state is WorkerState.ERROR:
            self._reading = False
            self.notify(f"the runs cannot be read: {event.worker.error}", severity="error", markup=False)

    # Showing

    def _show(self) -> None:
        """Repaint everything; the cursor stays on its run."""
        if not self.is_mounted:
            return
        now, width = time.time(), self.size.width
        before = self._selected()
        runs = self._runs or []
        self._shown = in_order([run for run in runs if self._filter.lower() in _searchable(run)], self._order)
        self._head.update(self._look.text(self._heading(width)))
        self._fill(table(self._shown, now, self._look, width=max(width - 2, 1), marked=self._marked, order=self._order))
        rows = [run.id for run in self._shown]
        if before is not None and before.id in rows:
            self._table.move_cursor(row=rows.index(before.id))
        self._show_detail()
        self.refresh_bindings()

    def _fill(self, listed: Table) -> None:
        self._table.clear(columns=True)
        for title, column in zip(listed.titles, listed.widths, strict=True):
            self._table.add_column(Text(title), width=column)
        for run, row in zip(self._shown, listed.rows, strict=True):
            style = self._table.get_component_rich_style(f"run-table--{run.state}", partial=True)
            self._table.add_row(
                *[Text(cell, style=style if at == 1 else "") for at, cell in enumerate(row)], key=run.id
            )

    def _heading(self, width: int) -> str:
        if self._runs is None:
            return " runs · loading…"
        shown = f"{len(self._shown)} of {len(self._runs)}" if self._filter else str(len(self._runs))
        filtered = f" · filter: {plain(self._filter)}" if self._filter else ""
        marked = f" · {len(self._marked)} of 2 marked" if self._marked else ""
        none = " · no runs yet" if not self._runs else ""
        start = f" runs · {shown}{filtered}{marked}{none} · "
        return cut(start + plain(str(self._state_folder.parent)), width, self._look)

    def _show_detail(self) -> None:
        run = self._selected()
        nothing = (
            f" No run matches {plain(self._filter)!r}; esc clears the filter." if self._runs and self._filter else ""
        )
        text = f" {detail(run, time.time())}" if run else nothing
        self._detail.update(cut(self._look.text(text), self.size.width, self._look))

    def _selected(self) -> RunSummary | None:
        row = self._table.cursor_row
        return self._shown[row] if 0 <= row < len(self._shown) else None

    def on_data_table_row_highlighted(self) -> None:
        self._show_detail()
        self.refresh_bindings()

    def on_data_table_row_selected(self) -> None:
        self.action_open()

    # Keys

    def check_action(self, action: str, parameters: tuple[object, ...]) -> bool | None:
        """Hide keys that do nothing now."""
        run = self._selected()
        match action:
            case "compare":
                return len(self._marked) == 2
            case "open" | "mark":
                return run is not None
            case "export":
                return not self._readonly
            case "delete":
                return not self._readonly and run is not None and run.state not in ("running", "unknown")
            case _:
                return True

    def action_open(self) -> None:
        run = self._selected()
        if run is not None:
            self.post_message(OpenRunRequested(run.id))

    def action_mark(self) -> None:
        """Mark or unmark the run; a third mark replaces the first."""
        run = self._selected()
        if run is None:
            return
        if run.id in self._marked:
            self._marked.remove(run.id)
        else:
            self._marked = [*self._marked, run.id][-2:]
        self._show()

    def action_sort(self) -> None:
        """Sort by the next column."""
        self._order = self._order.after(self._runs or [], self._look)
        self._show()

    def action_reverse(self) -> None:
        """Sort the other way round."""
        self._order = self._order.reversed()
        self._show()

    def action_compare(self) -> None:
        try:
            folders = [find_folder(self._state_folder, run_id) for run_id in self._marked]
        except QairtError as error:
            self._notify_error(error)
            return
        a, b = sorted(folders, key=lambda folder: (len(folder.id), folder.id))
        self.app.push_screen(CompareScreen(a, b, self._look))

    def action_filter(self) -> None:
        self._input.add_class("-open")
        self._input.value = self._filter
        self._input.focus()

    def on_input_changed(self, event: Input.Changed) -> None:
        self._filter = event.value.strip()
        self._show()

    def on_input_submitted(self) -> None:
        self._close_filter()

    def action_back(self) -> None:
        """Clear the filter; without one, go back."""
        if self._filter or self._input.has_class("-open"):
            self._input.value = self._filter = ""
            self._close_filter()
            self._show()
        else:
            self.dismiss()

    def action_copy(self) -> None:
        self.notify(copy(self.app, as_text(self._shown, time.time(), self._look)), markup=False)

    def action_export(self) -> None:
        """Write the runs shown to `runs.md` and `runs.json` in the state folder."""
        markdown, data = (self._state_folder / name for name in ("runs.md", "runs.json"))
        try:
            write_atomic(markdown, as_markdown(self._shown, time.time()))
            write_atomic(data, json.dumps([run.model_dump() for run in self._shown], indent=1) + "\n")
        except OSError as error:
            self.notify(f"{self._state_folder}: {error.strerror or error}", severity="error", markup=False)
            return
        self.notify(f"wrote {markdown} and {data.name}", markup=False)

    def action_delete(self) -> None:
        run = self._selected()
        if run is None:
            return

        def confirmed(yes: bool | None) -> None:
            if yes:
                self._delete(run.id)

        self.app.push_screen(DeleteRunScreen(run, self._look), confirmed)

    # Inside

    def _delete(self, run_id: str) -> None:
        try:
            delete_run(self._state_folder, run_id)
        except QairtError as error:
            self._notify_error(error)
        else:
            self.notify(f"deleted run {run_id}", markup=False)
        self._read()

    def _close_filter(self) -> None:
        self._input.remove_class("-open")
        self._table.focus()

    def _notify_error(self, error: QairtError) -> None:
        remedy = f"; {error.remedy}" if error.remedy else ""
        self.notify(self._look.text(f"{error.what}{remedy}"), severity="error", markup=False)


def _searchable(run: RunSummary) -> str:
    return f"{run.id} {run.state} {recipe_name(run)} {run.host} {' '.join(run.failed)} {run.failure}".lower()
