"""What screens ask of the app."""

from __future__ import annotations

from pathlib import Path

from textual.message import Message

from qairt.tui.key import MonitorAction


class ActionRequested(Message):
    """A key of the monitor that the app handles."""

    def __init__(self, action: MonitorAction) -> None:
        super().__init__()
        self.action = action


class EditRequested(Message):
    """Open the recipe, or another file, in the editor.

    Args:
        line: to open it at; 0 is the top.
        file: empty for the recipe.
    """

    def __init__(self, line: int, file: str = "") -> None:
        super().__init__()
        self.line = line
        self.file = file


class RecipeChanged(Message):
    """A line of the recipe's file was written."""


class FilesChanged(Message):
    """The recipe, or files that it names, were changed from outside since they were planned."""

    def __init__(self, files: list[Path]) -> None:
        super().__init__()
        self.files = files


class OpenRunRequested(Message):
    """Follow a run while it is active, otherwise replay it."""

    def __init__(self, run_id: str) -> None:
        super().__init__()
        self.run_id = run_id
