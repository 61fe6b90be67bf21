"""The page at the end of a run: what it made, how good that is, and what to do with it."""

from __future__ import annotations

from typing import Literal

from textual.app import ComposeResult
from textual.containers import VerticalScroll
from textual.content import Content
from textual.message import Message
from textual.screen import Screen
from textual.widgets import Static

from qairt.engine.record.state import RunState
from qairt.engine.run.ending import Ending
from qairt.tui.keymap import bindings
from qairt.tui.lines.ending import Quality, can_export, ending_lines
from qairt.tui.lines.matrix import plain
from qairt.tui.lines.runs import cut
from qairt.tui.terminal.glyphs import Look
from qairt.tui.widgets.key_footer import KeyFooter

_TWO_COLUMNS = 110
"""Columns of a window in which the page stands in two."""

Verb = Literal["generate", "evaluate", "verify", "report", "export"]


class EndingScreen(Screen[None]):
    """Text that fills in as it is read. Its keys run the command that each names.

    Args:
        name: of the recipe.
    """

    BINDINGS = bindings("ending")
    DEFAULT_CSS = """
    EndingScreen > #head { height: 1; background: $panel; text-style: bold; }
    EndingScreen > VerticalScroll { height: 1fr; background: $background; padding: 0 1; scrollbar-size-vertical: 1; }
    EndingScreen Static { width: 1fr; height: auto; }
    EndingScreen.two-columns > VerticalScroll { layout: horizontal; }
    """

    class CommandRequested(Message):
        """Run a command about the run's results."""

        def __init__(self, verb: Verb) -> None:
            self.verb = verb
            super().__init__()

    class CopyRequested(Message):
        """Copy a text."""

        def __init__(self, text: str) -> None:
            self.text = text
            super().__init__()

    def __init__(self, look: Look, name: str, state: RunState) -> None:
        super().__init__()
        self._look = look
        self._recipe_name = name
        self._state = state
        self._ending: Ending | None = None
        self._quality: Quality | None = None
        self._head = Static(id="head", markup=False)
        self._columns = Static(markup=False), Static(markup=False)
        self._lines: tuple[list[Content], list[Content]] = [], []

    def compose(self) -> ComposeResult:
        yield self._head
        with VerticalScroll():
            yield from self._columns
        yield KeyFooter()

    def on_mount(self) -> None:
        self._draw()

    def on_resize(self) -> None:
        self._draw()

    @property
    def text(self) -> str:
        """What is shown."""
        return "\n".join(line.plain for column in self._lines for line in column)

    @property
    def look(self) -> Look:
        """Glyphs or ASCII."""
        return self._look

    @look.setter
    def look(self, look: Look) -> None:
        self._look = look
        self._draw()

    def show_ending(self, ending: Ending) -> None:
        """Fill in what the run made."""
        self._ending = ending
        self.refresh_bindings()
        self._draw()

    def show_quality(self, quality: Quality) -> None:
        """Fill in what is known about the model's quality."""
        self._quality = quality
        self._draw()

    def check_action(self, action: str, parameters: tuple[object, ...]) -> bool | None:
        """The footer offers what the page does."""
        return parameters != ("export",) or can_export(self._state, self._ending)

    def action_after(self, verb: Verb) -> None:
        """Ask the app to run a command."""
        self.post_message(self.CommandRequested(verb))

    def action_copy(self) -> None:
        """Copy the folder of the results."""
        made = self._ending.made if self._ending is not None else ()
        if made:
            self.post_message(self.CopyRequested(str(made[0].folder)))

    def action_back(self) -> None:
        self.app.pop_screen()

    def _draw(self) -> None:
        name, run = plain(self._recipe_name), plain(self._state.run_id)
        before, after = " qairt  ", f"  run {run}"
        name = cut(name, max(self.size.width - len(before) - len(after), 8), self._look)
        self._head.update(self._look.text(f"{before}{name}{after}"))
        is_wide = self.size.width >= _TWO_COLUMNS
        self.set_class(is_wide, "two-columns")
        width = max((self.size.width // 2 if is_wide else self.size.width) - 3, 0)
        lines = ending_lines(self._state, self._ending, self._quality, self._look, width)
        if lines != self._lines:
            self._lines = lines
            for column, texts in zip(self._columns, lines, strict=True):
                column.update(Content("\n").join(texts))
