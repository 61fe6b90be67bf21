"""Choosing a theme, with a live preview on the screen behind the list."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import zip_longest
from typing import ClassVar

from rich.text import Text
from textual.app import ComposeResult
from textual.containers import Vertical
from textual.content import Content
from textual.screen import ModalScreen
from textual.widgets import OptionList, Static
from textual.widgets.option_list import Option

from qairt.engine.record.item_state import ItemStatus
from qairt.tui.keymap import bindings
from qairt.tui.terminal.glyphs import MARKS, Look, in_words


class ThemeScreen(ModalScreen[str | None]):
    """A list of themes. Dismissed with the name of the chosen one, or None.

    Args:
        names: of all themes.
        current: the active one.
        look: what the terminal can show.
        preview: applies a theme.
        note: shown below the list, such as that `NO_COLOR` is set.
    """

    BINDINGS = bindings("theme")
    DEFAULT_CSS = """
    ThemeScreen { align: right bottom; background: transparent; }
    ThemeScreen > Vertical {
        width: 40; max-width: 100%; height: auto; max-height: 100%; margin: 0 1 1 0;
        border: solid $border-focus; border-title-color: $title; border-subtitle-color: $text-muted;
        background: $surface; padding: 0 1;
    }
    ThemeScreen.-ascii > Vertical { border: ascii $border-focus; }
    ThemeScreen OptionList {
        height: auto; max-height: 10; padding: 0; background: $surface; scrollbar-size-vertical: 1;
    }
    ThemeScreen OptionList:focus { background-tint: $foreground 0%; }
    ThemeScreen .note { color: $text-muted; }
    """

    def __init__(
        self,
        names: Sequence[str],
        current: str,
        look: Look,
        preview: Callable[[str], None],
        note: str = "",
    ) -> None:
        super().__init__()
        self._names = list(names)
        self._before = current
        self._look = look
        self.set_class(look.ascii, "-ascii")
        self._preview = preview
        self._note = note
        self._list = ThemeList(*(Option(Text(name), id=name) for name in self._names), markup=False, compact=True)
        self._sample = ThemeSample(look)

    def compose(self) -> ComposeResult:
        with Vertical() as box:
            box.border_title = "Theme"
            box.border_subtitle = "enter save   esc back"
            yield self._list
            if self._note:
                yield Static(self._look.text(self._note), markup=False, classes="note")
            yield self._sample

    def on_mount(self) -> None:
        if self._before in self._names:
            self._list.highlighted = self._names.index(self._before)
        self._list.focus()

    def on_option_list_option_highlighted(self, event: OptionList.OptionHighlighted) -> None:
        event.stop()
        if event.option.id:
            self._preview(event.option.id)

    def on_option_list_option_selected(self, event: OptionList.OptionSelected) -> None:
        event.stop()
        self.dismiss(event.option.id)

    def action_keep(self) -> None:
        """Choose the theme under the cursor."""
        self._list.action_select()

    def action_restore(self) -> None:
        """Go back to the previous theme."""
        self._preview(self._before)
        self.dismiss(None)


class ThemeList(OptionList):
    """Moves with the keys of lists."""

    BINDINGS = bindings("list")

    def action_scroll_top(self) -> None:
        """Go to the first theme."""
        self.action_first()

    def action_scroll_bottom(self) -> None:
        """Go to the last theme."""
        self.action_last()


class ThemeSample(Static):
    """The signs of all statuses in the theme's colours."""

    COMPONENT_CLASSES: ClassVar[set[str]] = {f"theme--{status}" for status in MARKS}
    DEFAULT_CSS = "ThemeSample { height: auto; margin: 1 0 0 0; }\n" + "\n".join(
        f"ThemeSample > .theme--{status} {{ color: $state-{status}; }}" for status in MARKS
    )

    def __init__(self, look: Look) -> None:
        super().__init__(markup=False)
        self._look = look

    def render(self) -> Content:
        """Two columns of signs."""
        signs = list(MARKS)
        half = (len(signs) + 1) // 2
        lines = []
        for left, right in zip_longest(signs[:half], signs[half:]):
            lines.append(Content.assemble(self._sign(left), "  ", self._sign(right)) if right else self._sign(left))
        return Content("\n").join(lines)

    def _sign(self, status: ItemStatus) -> Content:
        text = f"{self._look.mark(status):<3}{in_words(status):<12}"
        return Content.styled(text, self.get_visual_style(f"theme--{status}", partial=True))
