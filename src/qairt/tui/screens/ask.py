"""One question with a line to answer it."""

from __future__ import annotations

from typing import ClassVar

from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Vertical
from textual.screen import ModalScreen
from textual.widgets import Input, Static


class AskScreen(ModalScreen[str | None]):
    """The answer; None if the user went back. An empty answer is not accepted.

    Args:
        title: what is asked.
        about: a sentence below the line.
        value: the answer unless it is changed.
    """

    BINDINGS: ClassVar[list[BindingType]] = [Binding("escape,ctrl+c", "back", "Back")]
    DEFAULT_CSS = """
    AskScreen { align: center middle; }
    AskScreen > Vertical {
        width: 76; max-width: 100%; height: auto; max-height: 100%;
        border: solid $border-focus; border-title-color: $title; border-subtitle-color: $text-muted;
        background: $surface; padding: 0 2;
    }
    AskScreen Input { border: none; height: 1; padding: 0; margin: 1 0; background: $panel; }
    """

    def __init__(self, title: str, about: str, value: str = "") -> None:
        super().__init__()
        self._title = title
        self._about = about
        self._input = Input(value=value, compact=True)

    def compose(self) -> ComposeResult:
        with Vertical(classes="box") as box:
            box.border_title = self._title
            box.border_subtitle = "enter continue   esc back"
            yield self._input
            yield Static(self._about, markup=False)

    def on_mount(self) -> None:
        self._input.focus()

    def on_input_submitted(self, event: Input.Submitted) -> None:
        if answer := event.value.strip():
            self.dismiss(answer)

    def action_back(self) -> None:
        self.dismiss(None)
