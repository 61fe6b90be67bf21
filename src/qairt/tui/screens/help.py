"""Help: the keys of a screen, as remapped by the user, and the meaning of status signs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import ClassVar

from rich.console import Group, RenderableType
from rich.style import Style
from rich.table import Table
from rich.text import Text
from textual.app import ComposeResult
from textual.containers import Vertical, VerticalScroll
from textual.screen import ModalScreen
from textual.widgets import Input, Static

from qairt.engine.record.item_state import ItemStatus
from qairt.tui.key_names import SCOPES, effective, key_names
from qairt.tui.keymap import KEYS, bindings
from qairt.tui.terminal.glyphs import MARKS, Look, in_words


class HelpScreen(ModalScreen[None]):
    """Keys and signs in one list that scrolls and can be filtered.

    Args:
        scopes: of `KEYS`, in this order.
        look: what the terminal can show.
        remapped: keys set by the user, by id.
    """

    BINDINGS = bindings("help")
    DEFAULT_CSS = """
    HelpScreen { align: center middle; }
    HelpScreen > Vertical {
        width: 100%; max-width: 84; height: 90%; min-height: 5;
        border: solid $border-focus; border-title-color: $title; border-subtitle-color: $text-muted;
        background: $surface; padding: 0 1;
    }
    HelpScreen.-ascii > Vertical { border: ascii $border-focus; }
    HelpScreen VerticalScroll { scrollbar-size-vertical: 1; background: $surface; }
    HelpScreen Input { background: $panel; display: none; }
    HelpScreen Input.-open { display: block; }
    """

    def __init__(self, scopes: Sequence[str], look: Look, remapped: Mapping[str, str] | None = None) -> None:
        super().__init__()
        self._scopes = scopes
        self._look = look
        self.set_class(look.ascii, "-ascii")
        self._remapped = remapped or {}
        self._page = HelpPage()
        self._scroll = HelpScroll(self._page)
        self._input = Input(placeholder="filter", select_on_focus=False, compact=True)

    def compose(self) -> ComposeResult:
        with Vertical() as box:
            box.border_title = "Help"
            keys = effective("help", self._remapped)
            box.border_subtitle = self._look.text(
                f"{key_names(keys['help.filter'])} filter   {key_names(keys['help.close']).split()[0]} close"
            )
            yield self._input
            yield self._scroll

    def on_mount(self) -> None:
        self._show("")
        self._scroll.focus()

    def action_filter(self) -> None:
        """Open the filter line."""
        self._input.add_class("-open")
        self._input.focus()

    def action_close(self) -> None:
        """Clear the filter; without one, close."""
        if not self._input.has_class("-open"):
            self.dismiss()
            return
        self._input.value = ""
        self._input.remove_class("-open")
        self._show("")
        self._scroll.focus()

    def on_input_changed(self, event: Input.Changed) -> None:
        event.stop()
        self._show(event.value.strip().lower())

    def on_input_submitted(self, event: Input.Submitted) -> None:
        event.stop()
        self._scroll.focus()

    def _show(self, pattern: str) -> None:
        parts: list[tuple[str, Table]] = []
        for scope in self._scopes:
            keys = effective(scope, self._remapped)
            rows = [(key_names(keys[key.id], ascii=self._look.ascii), key.help, None) for key in KEYS[scope]]
            parts.append((SCOPES.get(scope, scope), self._page.table(_matching(rows, pattern), self._look)))
        signs = [(self._look.mark(status), _explained(status, mark.meaning), status) for status, mark in MARKS.items()]
        parts.append(("Signs", self._page.table(_matching(signs, pattern), self._look)))
        shown = [(title, table) for title, table in parts if table.row_count]
        self._page.show(shown, "" if shown else f"No match for “{pattern}”.", self._look)
        self._scroll.scroll_home(animate=False)


_SIGN_WIDTH = 12
"""Width of the first column, so that all tables line up."""

HelpRow = tuple[str, str, str | None]
"""Keys or a sign, the meaning, and the status if it is a sign."""


def _explained(status: ItemStatus, meaning: str) -> str:
    name = in_words(status)
    return meaning if meaning == name else f"{name}: {meaning}"


def _matching(rows: Sequence[HelpRow], pattern: str) -> list[HelpRow]:
    return [row for row in rows if pattern in f"{row[0]} {row[1]}".lower()]


class HelpScroll(VerticalScroll):
    """Scrolls with the keys of lists."""

    BINDINGS = bindings("list")

    def action_cursor_down(self) -> None:
        """Go one line down."""
        self.scroll_down(animate=False)

    def action_cursor_up(self) -> None:
        """Go one line up."""
        self.scroll_up(animate=False)

    def action_scroll_top(self) -> None:
        """Go to the first line."""
        self.scroll_home(animate=False)

    def action_scroll_bottom(self) -> None:
        """Go to the last line."""
        self.scroll_end(animate=False)

    def action_page_down(self) -> None:
        """Go one page down."""
        self.scroll_page_down(animate=False)

    def action_page_up(self) -> None:
        """Go one page up."""
        self.scroll_page_up(animate=False)


class HelpPage(Static):
    """Headings, each with a table of two columns."""

    COMPONENT_CLASSES: ClassVar[set[str]] = {"help--key", "help--heading", *(f"help--{status}" for status in MARKS)}
    DEFAULT_CSS = (
        "HelpPage { height: auto; }\n"
        "HelpPage > .help--key { color: $accent; text-style: bold; }\n"
        "HelpPage > .help--heading { color: $title; text-style: bold; }\n"
    ) + "\n".join(f"HelpPage > .help--{status} {{ color: $state-{status}; text-style: bold; }}" for status in MARKS)

    def table(self, rows: Sequence[HelpRow], look: Look) -> Table:
        """A table whose second column wraps."""
        table = Table.grid(padding=(0, 2, 0, 0), expand=True)
        table.add_column(min_width=_SIGN_WIDTH if self.app.size.width >= 60 else 0, max_width=_SIGN_WIDTH)
        table.add_column(ratio=1)
        for sign, meaning, status in rows:
            table.add_row(Text(sign, self._style(status or "key")), Text(look.text(meaning)))
        return table

    def show(self, parts: Sequence[tuple[str, Table]], otherwise: str, look: Look) -> None:
        """Show headings with their tables, or one sentence if there are none."""
        lines: list[RenderableType] = []
        for title, table in parts:
            lines += [Text(title, self._style("heading")), table, Text()]
        self.update(Group(*lines[:-1]) if lines else Text(look.text(otherwise)))

    def _style(self, name: str) -> Style:
        style: Style = self.get_component_rich_style(f"help--{name}", partial=True)
        return style
