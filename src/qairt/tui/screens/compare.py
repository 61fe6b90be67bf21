"""Two runs side by side."""

from __future__ import annotations

from typing import ClassVar

from rich.text import Text
from textual import work
from textual.app import ComposeResult
from textual.containers import VerticalScroll
from textual.message import Message
from textual.screen import Screen
from textual.widgets import Static
from textual.worker import Worker, WorkerState

from qairt.engine.record.folder import RunFolder
from qairt.engine.record.runs import RunComparison, compare
from qairt.tui.keymap import bindings
from qairt.tui.lines.compare import CompareLine, compare_lines, compare_markdown
from qairt.tui.lines.runs import cut
from qairt.tui.terminal.clipboard import copy
from qairt.tui.terminal.glyphs import Look
from qairt.tui.widgets.key_footer import KeyFooter


class ComparePane(VerticalScroll):
    """The lines of a comparison."""

    BINDINGS = bindings("list")
    COMPONENT_CLASSES: ClassVar[set[str]] = {f"compare-pane--{role}" for role in ("title", "changed", "equal", "note")}
    DEFAULT_CSS = """
    ComparePane { height: 1fr; background: $background; padding: 0 1; scrollbar-size-vertical: 1; }
    ComparePane.-ascii { scrollbar-size-vertical: 0; }
    ComparePane > Static { width: 1fr; height: auto; text-wrap: nowrap; }
    ComparePane > .compare-pane--title { color: $title; text-style: bold; }
    ComparePane > .compare-pane--changed { color: $foreground; }
    ComparePane > .compare-pane--equal { color: $text-muted; }
    ComparePane > .compare-pane--note { color: $state-warn; }
    """

    def __init__(self) -> None:
        super().__init__()
        self._text = Static(markup=False)

    def compose(self) -> ComposeResult:
        yield self._text

    def show(self, lines: list[CompareLine]) -> None:
        """Replace what is shown with `lines`."""
        styles = {
            line.role: self.get_component_rich_style(f"compare-pane--{line.role}", partial=True) for line in lines
        }
        text = Text()
        for number, line in enumerate(lines):
            text.append(("\n" if number else "") + line.text, style=styles[line.role])
        self._text.update(text)

    def action_cursor_down(self) -> None:
        self.scroll_down(animate=False)

    def action_cursor_up(self) -> None:
        self.scroll_up(animate=False)

    def action_scroll_top(self) -> None:
        self.scroll_home(animate=False)

    def action_scroll_bottom(self) -> None:
        self.scroll_end(animate=False)


class CompareScreen(Screen[None]):
    """The differences between two runs, the first on the left."""

    BINDINGS = bindings("compare")
    TITLE = "compare"
    DEFAULT_CSS = """
    CompareScreen > #head { height: 1; color: $title; text-style: bold; }
    """

    class _Read(Message):
        def __init__(self, comparison: RunComparison) -> None:
            super().__init__()
            self.comparison = comparison

    def __init__(self, a: RunFolder, b: RunFolder, look: Look) -> None:
        super().__init__()
        self._a = a
        self._b = b
        self._look = look
        self._every = False
        self._comparison: RunComparison | None = None
        self._head = Static(id="head", markup=False)
        self._pane = ComparePane()
        self._pane.set_class(look.ascii, "-ascii")

    def compose(self) -> ComposeResult:
        yield self._head
        yield self._pane
        yield KeyFooter()

    def on_mount(self) -> None:
        self._pane.focus()
        self._show()
        self._read()
        self.app.theme_changed_signal.subscribe(self, lambda _: self._show())

    def on_resize(self) -> None:
        self._show()

    @work(thread=True, exclusive=True, exit_on_error=False)
    def _read(self) -> None:
        self.post_message(self._Read(compare(self._a, self._b)))

    def on_compare_screen__read(self, message: _Read) -> None:
        self._comparison = message.comparison
        self._show()

    def on_worker_state_changed(self, event: Worker.StateChanged) -> None:
        if event.state is WorkerState.ERROR:
            self.notify(f"the runs cannot be compared: {event.worker.error}", severity="error", markup=False)

    def action_all(self) -> None:
        """Show unchanged values too, or only differences."""
        self._every = not self._every
        self._show()

    def action_copy(self) -> None:
        """Copy what is shown, as Markdown."""
        if self._comparison is not None:
            self.notify(copy(self.app, compare_markdown(self._comparison, every=self._every)), markup=False)

    def action_back(self) -> None:
        self.dismiss()

    def _show(self) -> None:
        if not self.is_mounted:
            return
        width = self.size.width
        what = "all values" if self._every else "differences; A shows all"
        if self._comparison is None:
            what = "loading…"
        self._head.update(cut(self._look.text(f" compare {self._a.id} and {self._b.id} · {what}"), width, self._look))
        if self._comparison is not None:
            room = max(width - 2, 1)
            self._pane.show(compare_lines(self._comparison, self._look, width=room, every=self._every))
