"""The monitor's first line: the recipe, the run and its status."""

from __future__ import annotations

import time
from typing import ClassVar

from rich.cells import cell_len
from rich.segment import Segment
from textual.strip import Strip
from textual.widget import Widget

from qairt.engine.record.state import RunState
from qairt.tui.lines.matrix import plain
from qairt.tui.lines.runs import cut
from qairt.tui.terminal.glyphs import Look

_ROLES = {"running": "running", "done": "done", "failed": "failed", "interrupted": "interrupted", "planned": "waiting"}
_AROUND_REMARK = 3
"""Columns between the remark and what is left of it, and after it."""
_SHORTEST_NAME = 12


class StatusLine(Widget):
    """` qairt  llama.yaml  run 0142 ▶ running 00:41:01  attached  host box7  pid 41231`, and a remark at the right."""

    COMPONENT_CLASSES: ClassVar[set[str]] = {f"status-line--{role}" for role in (*_ROLES.values(), "text", "name")}
    DEFAULT_CSS = """
    StatusLine { height: 1; width: 1fr; background: $panel; }
    StatusLine > .status-line--name { text-style: bold; }
    StatusLine > .status-line--text { color: $foreground; }
    StatusLine > .status-line--running { color: $state-running; text-style: bold; }
    StatusLine > .status-line--done { color: $state-done; text-style: bold; }
    StatusLine > .status-line--failed { color: $state-failed; text-style: bold; }
    StatusLine > .status-line--interrupted { color: $state-interrupted; text-style: bold; }
    StatusLine > .status-line--waiting { color: $foreground; }
    """

    def __init__(self, look: Look, *, id: str | None = None) -> None:
        super().__init__(id=id)
        self.look = look
        self._parts: list[tuple[str, str]] = []

    @property
    def line(self) -> str:
        """What is shown, as text."""
        return "".join(text for text, _ in self._parts)

    def show(self, name: str, state: RunState, now: float, *, connection: str, remark: str) -> None:
        """Show a run; repaints only when the line changed.

        Args:
            name: of the recipe.
            connection: how this screen is connected to the run: `in this program`, `attached`, `replay`.
            remark: at the right, before the connection, host and process if there is no room for all of them.
        """
        room = self.size.width
        parts = [(" qairt ", "name"), (f" {plain(name)} ", "text")]
        if state.run_id:
            role = _ROLES[state.status]
            mark = {"running": "▶", "done": "✓", "failed": "×", "interrupted": "?", "planned": ""}[state.status]
            paused = state.paused and state.status == "running"
            mark, word = ("", "paused") if paused else (mark, state.status)
            parts += [(f" run {state.run_id} ", "text"), (f"{mark} {word} {_elapsed(state, now)} ".lstrip(), role)]
            parts += [(f" {connection}", "text")]
            if state.host:
                parts += [(f"  host {state.host}  pid {state.pid}", "text")]
        else:
            parts += [(f" {connection}", "text")]
        parts = [(self.look.text(text), role) for text, role in parts]
        remark = self.look.text(plain(remark))
        needed = cell_len(remark) + _AROUND_REMARK if remark else 0
        while len(parts) > 4 and _width(parts) + needed > room:
            parts.pop()
        surplus = _width(parts) + needed - room
        if surplus > 0:  # of a long name, rather than of what the run does
            text, role = parts[1]
            parts[1] = (f" {cut(text.strip(), max(cell_len(text) - surplus - 2, _SHORTEST_NAME), self.look)} ", role)
        left = room - _width(parts)
        if remark and left > _AROUND_REMARK:
            remark = cut(remark, left - _AROUND_REMARK, self.look)
            parts.append((" " * (left - cell_len(remark) - 1) + remark + " ", "text"))
        if parts != self._parts:
            self._parts = parts
            self.refresh()

    def render_line(self, y: int) -> Strip:
        style = self.rich_style
        segments = [
            Segment(text, style + self.get_component_rich_style(f"status-line--{role}")) for text, role in self._parts
        ]
        return Strip(segments).adjust_cell_length(self.size.width, style)


def _width(parts: list[tuple[str, str]]) -> int:
    return sum(cell_len(text) for text, _ in parts)


def _elapsed(state: RunState, now: float) -> str:
    seconds = int(state.seconds if state.status != "running" else max(now - state.started, 0)) if state.started else 0
    if seconds >= 86400:
        return f"{seconds // 86400}d" + time.strftime("%H:%M:%S", time.gmtime(seconds % 86400))
    return time.strftime("%H:%M:%S", time.gmtime(seconds))
