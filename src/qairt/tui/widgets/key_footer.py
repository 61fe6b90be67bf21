"""The footer: the keys of the screen, as many as there is room for, and always the one that lists them all."""

from __future__ import annotations

from rich.cells import cell_len
from textual.app import ComposeResult
from textual.events import Resize
from textual.widgets import Footer
from textual.widgets._footer import FooterKey

_AROUND = 3
"""Columns of spaces around a key and its name."""


class KeyFooter(Footer):
    """Leaves out the last keys where they would be cut; help stays."""

    def __init__(self) -> None:
        super().__init__(show_command_palette=False)

    def compose(self) -> ComposeResult:
        keys = [key for key in super().compose() if isinstance(key, FooterKey)]
        room = self.app.size.width - sum(_width(key) for key in keys if key.action == "help")
        for key in keys:
            if key.action == "help" or (room := room - _width(key)) >= 0:
                yield key

    async def on_resize(self, event: Resize) -> None:
        await self.recompose()


def _width(key: FooterKey) -> int:
    return cell_len(key.key_display) + cell_len(key.description) + _AROUND
