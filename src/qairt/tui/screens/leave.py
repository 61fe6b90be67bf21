"""Confirmations before leaving or cancelling an active run, and before other irreversible actions."""

from __future__ import annotations

from typing import ClassVar, Literal

from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Vertical
from textual.screen import ModalScreen
from textual.widgets import Input, OptionList, Static
from textual.widgets.option_list import Option

from qairt.engine.record.state import RunState

LeaveChoice = Literal["detach", "cancel", "stay"]


class LeaveScreen(ModalScreen[LeaveChoice]):
    """Asks what to do with the run. Once that has ended, it offers only to leave or to stay.

    Args:
        run_id: of the active run; empty while it is starting.
        warning: something to know before leaving, such as that this machine kills processes at logout.
    """

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("escape,q", "choose('stay')", "Stay"),
        Binding("d", "choose('detach')", "Leave"),
        Binding("ctrl+c", "choose('stay')", show=False),
        Binding("j", "down", show=False),
        Binding("k", "up", show=False),
    ]
    DEFAULT_CSS = """
    LeaveScreen { align: center middle; }
    LeaveScreen > Vertical {
        width: 66; max-width: 100%; height: auto; max-height: 100%;
        border: solid $border-focus; border-title-color: $title; border-subtitle-color: $text-muted;
        background: $surface; padding: 0 2;
    }
    LeaveScreen OptionList { height: auto; background: $surface; padding: 0; }
    LeaveScreen OptionList:focus { background-tint: $foreground 0%; }
    """

    def __init__(self, run_id: str, warning: str = "") -> None:
        super().__init__()
        self._run_id = run_id
        self._warning = warning

    def compose(self) -> ComposeResult:
        with Vertical(classes="box") as box:
            box.border_title = _running(self._run_id)
            box.border_subtitle = "enter choose   esc stay"
            if self._warning:
                yield Static(self._warning, markup=False)
            yield OptionList(
                Option("Leave; the run continues without a screen", id="detach"),
                Option("Stay", id="stay"),
                Option("Cancel the run and leave; finished items are kept", id="cancel"),
                compact=True,
            )

    def on_mount(self) -> None:
        self.query_one(OptionList).focus()

    def tick(self, state: RunState, now: float) -> None:
        if not self.is_mounted:
            return
        box, choices = self.query_one(".box"), self.query_one(OptionList)
        title = f"Run {state.run_id} has ended" if _has_ended(state) else _running(state.run_id)
        if title == box.border_title:
            return
        box.border_title = title
        if _has_ended(state):
            choices.remove_option("cancel")
            choices.replace_option_prompt("detach", "Leave")

    def on_option_list_option_selected(self, event: OptionList.OptionSelected) -> None:
        choices: dict[str | None, LeaveChoice] = {"detach": "detach", "stay": "stay", "cancel": "cancel"}
        self.dismiss(choices[event.option.id])

    def action_choose(self, choice: LeaveChoice) -> None:
        self.dismiss(choice)

    def action_down(self) -> None:
        self.query_one(OptionList).action_cursor_down()

    def action_up(self) -> None:
        self.query_one(OptionList).action_cursor_up()


class CancelRunScreen(ModalScreen[bool]):
    """Cancels a run once its id is typed.

    Args:
        busy: number of running items.
    """

    BINDINGS: ClassVar[list[BindingType]] = [Binding("escape,ctrl+c", "keep", "Keep it")]
    DEFAULT_CSS = """
    CancelRunScreen { align: center middle; }
    CancelRunScreen > Vertical {
        width: 60; max-width: 100%; height: auto; max-height: 100%;
        border: solid $state-failed; background: $surface; padding: 0 2;
    }
    CancelRunScreen Input { background: $panel; }
    """

    def __init__(self, run_id: str, busy: int) -> None:
        super().__init__()
        self._run_id = run_id
        self._busy = busy

    def compose(self) -> ComposeResult:
        with Vertical(classes="box") as box:
            box.border_title = f"Cancel run {self._run_id}?"
            items = "item loses its" if self._busy == 1 else "items lose their"
            losses = f"{self._busy} running {items} progress. " if self._busy else ""
            yield Static(f"{losses}Finished items are kept.", markup=False)
            yield Static(f"Type {self._run_id} and press enter; esc keeps it running.", markup=False)
            yield Input(placeholder=self._run_id, select_on_focus=False, compact=True)

    def tick(self, state: RunState, now: float) -> None:
        if _has_ended(state) and self.is_current:
            self.dismiss(False)  # there is nothing to cancel any more

    def on_mount(self) -> None:
        self.query_one(Input).focus()

    def on_input_submitted(self, event: Input.Submitted) -> None:
        if event.value.strip() == self._run_id:
            self.dismiss(True)
        else:
            event.input.value = ""

    def action_keep(self) -> None:
        self.dismiss(False)


class ConfirmScreen(ModalScreen[bool]):
    """A yes-no question. The default is no."""

    DEFAULT_CSS = """
    ConfirmScreen { align: center middle; }
    ConfirmScreen > Vertical {
        width: 66; max-width: 100%; height: auto; max-height: 100%;
        border: solid $border-focus; border-title-color: $title; background: $surface; padding: 0 2;
    }
    """
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("y", "answer(True)", "Yes", id="confirm.yes"),
        Binding("n,escape,enter,ctrl+c", "answer(False)", "No", id="confirm.no"),
    ]

    def __init__(self, title: str, text: str) -> None:
        super().__init__()
        self._title = title
        self._text = text

    def compose(self) -> ComposeResult:
        with Vertical(classes="box") as box:
            box.border_title = self._title.replace("[", "\\[")
            yield Static(self._text, markup=False)
            yield Static("y yes    n no (default)", markup=False, classes="keys")

    def action_answer(self, answer: bool) -> None:
        self.dismiss(answer)


def _running(run_id: str) -> str:
    return f"Run {run_id} is still running" if run_id else "The run is starting"


def _has_ended(state: RunState) -> bool:
    return state.status not in ("planned", "running")
