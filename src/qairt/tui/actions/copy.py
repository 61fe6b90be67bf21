"""Copying to the clipboard."""

from __future__ import annotations

import shlex
from typing import Protocol, runtime_checkable

from qairt.tui.workspace import Workspace


@runtime_checkable
class Copyable(Protocol):
    """A widget that knows what to copy."""

    @property
    def copy_text(self) -> str:
        """What is selected in it."""


class CopyActions:
    """Copies what is selected."""

    def __init__(self, workspace: Workspace) -> None:
        self._workspace = workspace

    def copy_selected(self) -> None:
        """Copy what is selected in the focused pane; by default the item's name, key and folder."""
        workspace = self._workspace
        focused = workspace.app.screen.focused
        text = focused.copy_text if isinstance(focused, Copyable) else ""
        item = workspace.monitor.selected
        if not text and item is not None:
            _, entry, _ = workspace.find_item(item.stage, item.label)
            text = "\n".join([item.name, item.key, *([str(entry.directory)] if entry else [])])
        if text:
            workspace.copy(text)

    def copy_command(self) -> None:
        """Copy the command that runs the recipe up to the selected item."""
        item = self._workspace.monitor.selected
        command = self._workspace.project.command()
        if item is not None:
            command += ["--until", item.stage]
        self._workspace.copy(shlex.join(["qairt", *command]))

    def copy_selected_text(self) -> bool:
        """Copy text selected with the mouse; whether there was any."""
        screen = self._workspace.app.screen
        selected = screen.get_selected_text()
        if selected:
            self._workspace.copy(selected)
            screen.clear_selection()
        return bool(selected)
