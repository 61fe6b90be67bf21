"""Confirmation before cached results are cleared, with what that means."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from textual import work
from textual.app import ComposeResult
from textual.containers import VerticalScroll
from textual.message import Message
from textual.screen import ModalScreen
from textual.widgets import Static

from qairt.amounts import about, size
from qairt.engine.cache.clearing import ClearPreview, Scope
from qairt.errors import QairtError
from qairt.tui.keymap import bindings
from qairt.tui.lines.matrix import plain
from qairt.tui.terminal.glyphs import Look

Preview = Callable[[Scope, bool], ClearPreview]
"""What clearing a scope would do, alone or with everything built from it. Called in a thread."""

_SCOPES: tuple[Scope, ...] = ("item", "row", "stage")
_NAMES: dict[Scope, str] = {"item": "this item", "row": "this row", "stage": "whole stage"}


@dataclass(frozen=True)
class ClearChoice:
    """What the user confirmed."""

    scope: Scope
    after: bool
    preview: ClearPreview
    """What they were shown; its entries are to be cleared."""


class ClearScreen(ModalScreen[ClearChoice | None]):
    """Shows what a clear would do. Dismissed with None when nothing is to be cleared.

    Args:
        preview: looks up what clearing a scope would do.
        look: what the terminal can show.
        scopes: to choose from; the first is the default.
    """

    BINDINGS = bindings("clear")
    DEFAULT_CSS = """
    ClearScreen { align: center middle; }
    ClearScreen > VerticalScroll {
        width: 72; max-width: 100%; height: auto; max-height: 100%; min-height: 4;
        border: solid $border-focus; border-title-color: $title; border-subtitle-color: $foreground;
        background: $surface; padding: 0 1; scrollbar-size-vertical: 1;
    }
    ClearScreen.-ascii > VerticalScroll { border: ascii $border-focus; scrollbar-size-vertical: 0; }
    ClearScreen Static { height: auto; width: 1fr; }
    ClearScreen #what { text-style: bold; }
    ClearScreen #others { color: $state-warn; text-style: bold; }
    ClearScreen #refused { color: $state-failed; text-style: bold; }
    """

    class _PreviewReady(Message):
        """What clearing a scope would do, or why that is not known."""

        def __init__(self, scope: Scope, after: bool, preview: ClearPreview | None, problem: str) -> None:
            super().__init__()
            self.scope = scope
            self.after = after
            self.preview = preview
            self.problem = problem

    def __init__(self, preview: Preview, look: Look, scopes: Sequence[Scope] = _SCOPES) -> None:
        super().__init__()
        self._preview = preview
        self._look = look
        self._scopes = scopes
        self._scope: Scope = scopes[0]
        self._after = False
        self._previews: dict[tuple[Scope, bool], ClearPreview] = {}
        self._problem = ""
        self._confirmed = False
        """`y` was pressed before the preview was there."""
        self.set_class(look.ascii, "-ascii")
        self._box = VerticalScroll()
        self._what = Static(id="what", markup=False)
        self._facts = Static(id="facts", markup=False)
        self._others = Static(id="others", markup=False)
        self._refused = Static(id="refused", markup=False)
        self._choice = Static(id="choice", markup=False)

    def compose(self) -> ComposeResult:
        with self._box:
            yield self._what
            yield self._facts
            yield self._others
            yield self._refused
            yield self._choice

    def on_mount(self) -> None:
        self._box.focus()
        self._look_up()

    def on_resize(self) -> None:
        self._show()

    # Keys

    def check_action(self, action: str, parameters: tuple[object, ...]) -> bool | None:
        """Disable keys of scopes that cannot be chosen."""
        return parameters[0] in self._scopes if action == "scope" else True

    def action_scope(self, scope: Scope) -> None:
        """Choose what is cleared."""
        self._scope = scope
        self._look_up()

    def action_after(self) -> None:
        """Include everything built from it, or not."""
        self._after = not self._after
        self._look_up()

    def action_answer(self, yes: bool) -> None:
        """Clear, or keep everything. What cannot be cleared is kept."""
        preview = self._previews.get((self._scope, self._after))
        if not yes:
            self.dismiss(None)
        elif preview is None:
            self._confirmed = not self._problem
        elif preview.refused is None:
            self.dismiss(ClearChoice(self._scope, self._after, preview))

    # Looking up

    def _look_up(self) -> None:
        self._confirmed, self._problem = False, ""
        if (self._scope, self._after) not in self._previews:
            self._request_preview(self._scope, self._after)
        self._show()

    @work(thread=True, exit_on_error=False)
    def _request_preview(self, scope: Scope, after: bool) -> None:
        try:
            ready = self._PreviewReady(scope, after, self._preview(scope, after), "")
        except QairtError as error:
            ready = self._PreviewReady(scope, after, None, str(error))
        except OSError as error:
            ready = self._PreviewReady(scope, after, None, f"{error.filename}: {error.strerror or error}")
        self.post_message(ready)

    def on_clear_screen__preview_ready(self, message: _PreviewReady) -> None:
        if message.preview is not None:
            self._previews[message.scope, message.after] = message.preview
        if (message.scope, message.after) != (self._scope, self._after):
            return
        self._problem = message.problem
        if self._confirmed and message.preview is not None:
            self._confirmed = False
            self.action_answer(True)
        if self.is_running and self.is_current:
            self._show()

    # Showing

    def _show(self) -> None:
        preview = self._previews.get((self._scope, self._after))
        look, keys = self._look, self._keys()
        refused = preview is None or preview.refused is not None
        self._box.border_title = "Clear cache"
        no, yes = ("keep (default) ", "clear") if self.size.width >= 40 else ("no", "yes")
        answers = f"{keys['clear.no']} {no}" + ("" if refused else f"  {keys['clear.yes']} {yes}")
        self._box.border_subtitle = look.text(answers).replace("[", "\\[")
        self._fill(self._what, preview.title if preview else "" if self._problem else "reading the cache…")
        self._fill(self._facts, *(facts(preview, self._after) if preview and preview.entries else ()))
        self._fill(self._others, others_line(preview) if preview else "")
        self._fill(self._refused, *(self._problem.splitlines() or [refused_line(preview) if preview else ""]))
        scopes = [
            self._option(scope == self._scope, "()", keys[f"clear.{scope}"], _NAMES[scope]) for scope in self._scopes
        ]
        after = self._option(self._after, "[]", keys["clear.after"], "and everything built from it")
        self._fill(self._choice, "", "   ".join(scopes), after)

    def _option(self, chosen: bool, box: str, key: str, name: str) -> str:
        return f"{box[0]}{'x' if chosen else ' '}{box[1]} {key} {name}"

    def _fill(self, part: Static, *lines: str) -> None:
        part.display = any(lines)
        part.update(self._look.text("\n".join(plain(line) for line in lines)))

    def _keys(self) -> dict[str, str]:
        """The shortest key of each action, after remapping."""
        found: dict[str, str] = {f"clear.{name}": "" for name in (*_SCOPES, "after", "yes", "no")}
        for active in self.active_bindings.values():
            shown, known = self.app.get_key_display(active.binding), found.get(active.binding.id or "")
            if known is not None and (not known or len(shown) < len(known)):
                found[str(active.binding.id)] = shown
        return found


def facts(preview: ClearPreview, after: bool) -> list[str]:
    """What a clear frees and costs, and what it leaves.

    Args:
        after: everything built from it is cleared too.
    """
    lines = [
        f"frees {size(preview.bytes)} at the next prune; can be undone until then",
        f"rebuilding takes {about(preview.seconds_to_rebuild)}",
    ]
    if preview.dependents:
        stages = ", ".join(f"{stage} ({number})" for stage, number in preview.dependents.items())
        lines.append(f"also clears {stages}, built from it" if after else f"keeps {stages}, built from it")
    return lines


def others_line(preview: ClearPreview) -> str:
    """Which other recipes used it; empty if none did."""
    if not preview.other_recipes:
        return ""
    number = f"{preview.shared} of {len(preview.entries)} items" if len(preview.entries) > 1 else "it"
    verb = "were" if preview.shared > 1 else "was"
    noun = "recipe" if len(preview.other_recipes) == 1 else "recipes"
    return f"! {number} {verb} also used by {noun} {', '.join(preview.other_recipes)}"


def refused_line(preview: ClearPreview) -> str:
    """Why it cannot be cleared; empty if it can."""
    if preview.refused is None:
        return ""
    return f"cannot be cleared now: {preview.refused}" if preview.entries else preview.refused
