"""The cache: its entries, their sizes and users; clearing, undoing, pruning."""

from __future__ import annotations

import time
from collections.abc import Callable, Collection

from textual import work
from textual.app import ComposeResult
from textual.content import Content
from textual.message import Message
from textual.screen import Screen
from textual.widgets import Input, Static
from textual.worker import Worker, WorkerState

from qairt.amounts import count, size
from qairt.engine.cache.clearing import ClearPreview, Scope, clear, preview
from qairt.engine.cache.sentences import cleared_line, pruned_line, undone_line
from qairt.engine.cache.store import Store
from qairt.engine.record.state import RunState
from qairt.errors import QairtError
from qairt.tui.keymap import bindings
from qairt.tui.lines.cache import (
    ORDERS,
    CacheContent,
    CacheOrder,
    CacheRow,
    cache_lines,
    cache_rows,
    detail,
    heading,
    read_cache,
)
from qairt.tui.lines.runs import cut, plain
from qairt.tui.screens.clear import ClearChoice, ClearScreen
from qairt.tui.screens.leave import ConfirmScreen
from qairt.tui.terminal.clipboard import copy
from qairt.tui.terminal.glyphs import Look
from qairt.tui.widgets.key_footer import KeyFooter
from qairt.tui.widgets.row_list import RowList


class CacheScreen(Screen[None]):
    """Cache entries by stage.

    Args:
        store: the cache directory.
        look: what the terminal can show.
        used: keys that the current recipe uses; None while not known.
        state: of the current run or plan, since entries that a run needs are not cleared.
        changed: called after entries were cleared, restored or deleted.
        readonly: nothing can be cleared.
    """

    BINDINGS = bindings("cache")
    TITLE = "cache"
    DEFAULT_CSS = """
    CacheScreen > #head { height: 1; color: $title; text-style: bold; }
    CacheScreen > #columns { height: 1; color: $text-muted; text-style: underline; }
    CacheScreen > #detail { height: 1; color: $text-muted; }
    CacheScreen > #filter { height: 1; border: none; padding: 0; display: none; }
    CacheScreen > #filter.-open { display: block; }
    CacheScreen.-ascii RowList { scrollbar-size-vertical: 0; }
    """

    class _Read(Message):
        def __init__(self, content: CacheContent) -> None:
            super().__init__()
            self.content = content

    class _Finished(Message):
        def __init__(self, text: str, failed: bool) -> None:
            super().__init__()
            self.text = text
            self.failed = failed

    def __init__(
        self,
        store: Store,
        look: Look,
        *,
        used: Collection[str] | None,
        state: Callable[[], RunState],
        changed: Callable[[], None],
        readonly: bool = False,
    ) -> None:
        super().__init__()
        self._store = store
        self._look = look
        self._used = used
        self._state = state
        self._changed = changed
        self._readonly = readonly
        self._content: CacheContent | None = None
        self._reading = False
        self._stale = False
        """Something changed since the current read began."""
        self._problem = ""
        self._rows: list[CacheRow] = []
        self._filter = ""
        self._order: CacheOrder = "stage"
        self.set_class(look.ascii, "-ascii")
        self._head = Static(id="head", markup=False)
        self._columns = Static(id="columns", markup=False)
        self._list = RowList()
        self._detail = Static(id="detail", markup=False)
        self._input = Input(placeholder="filter entries", id="filter", select_on_focus=False)

    def compose(self) -> ComposeResult:
        yield self._head
        yield self._columns
        yield self._list
        yield self._detail
        yield self._input
        yield KeyFooter()

    def on_mount(self) -> None:
        self._list.focus()
        self._show()
        self._read()

    def on_resize(self) -> None:
        self._show()

    # Reading

    def _read(self) -> None:
        """Read again, after the current read: a thread cannot be cancelled."""
        self._stale = self._reading
        if not self._reading:
            self._reading = True
            self._read_in_thread()

    @work(thread=True, exit_on_error=False, group="read")
    def _read_in_thread(self) -> None:
        self.post_message(self._Read(read_cache(self._store)))

    def on_cache_screen__read(self, message: _Read) -> None:
        self._reading, self._problem = False, ""
        self._content = message.content
        if self._stale:
            self._read()
        self._show()

    def on_worker_state_changed(self, event: Worker.StateChanged) -> None:
        if event.state is WorkerState.ERROR and event.worker.group == "read":
            self._reading = False
            self._problem = f"the cache cannot be read: {event.worker.error}"
            self._show()

    # Showing

    def _show(self) -> None:
        """Repaint everything; the cursor stays on its row."""
        if not self.is_mounted:
            return
        width = self.size.width
        if self._content is None:
            text = self._problem or "loading; a large or remote directory takes a while…"
            self._head.update(cut(self._look.text(f" cache · {plain(text)}"), width, self._look))
            return
        before = self._selected()
        self._rows = cache_rows(self._content, self._filter, self._order)
        head = (
            f" {plain(self._problem)}"
            if self._problem
            else heading(self._content, self._rows, str(self._store.cache_dir), self._filter)
        )
        self._head.update(cut(self._look.text(head), width, self._look))
        room = max(width - 1, 1)  # without the scroll bar
        columns, lines = cache_lines(self._rows, self._content, self._used, self._look, width=room, now=time.time())
        self._columns.update(columns)
        self._list.show(
            [Content.styled(line, "bold" if row.is_stage else "") for row, line in zip(self._rows, lines, strict=True)]
        )
        ids = [row.id for row in self._rows]
        if before is not None and before.id in ids:
            self._list.highlighted = ids.index(before.id)
        self._show_detail()
        self.refresh_bindings()

    def _show_detail(self) -> None:
        row = self._selected()
        nothing = f" No entry matches {plain(self._filter)!r}; esc clears the filter." if self._filter else ""
        text = f" {detail(row, self._content, self._used)}" if row and self._content else nothing
        self._detail.update(cut(self._look.text(text), self.size.width, self._look))

    def _selected(self) -> CacheRow | None:
        at = self._list.highlighted
        return self._rows[at] if at is not None and at < len(self._rows) else None

    def on_option_list_option_highlighted(self) -> None:
        self._show_detail()

    # Keys

    def check_action(self, action: str, parameters: tuple[object, ...]) -> bool | None:
        """Hide keys that do nothing now."""
        match action:
            case "clear":
                return not self._readonly and bool(self._rows)
            case "undo":
                return not self._readonly and self._content is not None and bool(self._content.undoable)
            case "prune":
                return not self._readonly and self._content is not None
            case "copy":
                return bool(self._rows)
        return True

    def action_sort(self) -> None:
        """Sort by the next column."""
        self._order = ORDERS[(ORDERS.index(self._order) + 1) % len(ORDERS)]
        self._show()

    def action_clear(self) -> None:
        """Confirm what to clear: the entry, or its stage."""
        row = self._selected()
        if row is None:
            return
        state = self._state()

        def look_up(scope: Scope, after: bool) -> ClearPreview:
            if scope == "item":
                title = f"{row.stage} {row.entries[0].label}"
                return preview(self._store, row.entries, title=title, state=state, after=after)
            entries = self._store.entries(row.stage)
            title = f"{row.stage} · {count(len(entries), 'entry', 'entries')} of all recipes"
            return preview(self._store, entries, title=title, state=state, after=after, whole_stage=row.stage)

        scopes: tuple[Scope, ...] = ("stage",) if row.is_stage else ("item", "stage")
        self.app.push_screen(ClearScreen(look_up, self._look, scopes), self._confirmed)

    def _confirmed(self, choice: ClearChoice | None) -> None:
        if choice is not None:
            entries, state = choice.preview.entries, self._state()
            self._run(lambda: cleared_line(clear(self._store, entries, state).bytes, len(entries)))

    def action_undo(self) -> None:
        """Undo the last clear."""
        self._run(lambda: undone_line(self._store))

    def action_prune(self) -> None:
        """Permanently delete cleared entries, after confirmation."""
        if self._content is None:
            return
        number = count(len(self._content.trash), "entry", "entries")
        text = (
            f"This permanently deletes cleared entries ({number}, {size(self._content.trash_bytes)})"
            " and leftovers of killed runs. It cannot be undone."
        )

        def confirmed(yes: bool | None) -> None:
            if yes:
                self._run(lambda: pruned_line(self._store))

        self.app.push_screen(ConfirmScreen("Prune", text), confirmed)

    @work(thread=True, exit_on_error=False, group="change")
    def _run(self, job: Callable[[], str]) -> None:
        try:
            finished = self._Finished(job(), failed=False)
        except QairtError as error:
            finished = self._Finished(f"{error.what}; {error.remedy}" if error.remedy else error.what, failed=True)
        except OSError as error:
            finished = self._Finished(f"{error.filename}: {error.strerror or error}", failed=True)
        self.post_message(finished)

    def on_cache_screen__finished(self, message: _Finished) -> None:
        text = self._look.text(plain(message.text))
        self.notify(text, severity="error" if message.failed else "information", markup=False)
        if not message.failed:
            self._changed()
        self._read()

    def action_copy(self) -> None:
        """Copy the folder of the entry, or of all the stage's entries."""
        row = self._selected()
        if row is not None:
            folders = "\n".join(str(entry.directory) for entry in row.entries)
            self.notify(copy(self.app, folders), markup=False)

    def action_filter(self) -> None:
        self._input.add_class("-open")
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

    def _close_filter(self) -> None:
        self._input.remove_class("-open")
        self._list.focus()
