"""Every key of the terminal interface, in one table: bindings, the help screen and the README come from it.

A key can be given to another action by its id, in the user's settings: `keys: {item.clear: ctrl+x}`.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from textual.binding import Binding, BindingType


@dataclass(frozen=True)
class Key:
    """One action and the keys that call it."""

    id: str
    """`<scope>.<name>`, unique; what a user remaps."""
    keys: str
    """Default keys, separated by commas, as Textual names them."""
    action: str
    says: str
    """What it does, for the footer: one word or two."""
    help: str
    """The same in a sentence, for the help screen."""
    footer: bool = False
    """Whether the footer names it."""


KEYS: dict[str, tuple[Key, ...]] = {
    "global": (
        Key("global.help", "question_mark", "help", "Help", "Show every key that works here.", footer=True),
        Key("global.palette", "ctrl+p,colon", "command_palette", "Commands", "Find a command by name."),
        Key("global.back", "escape", "back", "Back", "Go back, or clear a filter."),
        Key("global.quit", "q", "leave", "Quit", "Leave. A run that is going is never ended by this."),
        Key("global.copy_or_quit", "ctrl+c", "copy_or_leave", "Copy", "Copy what is selected; else leave."),
        Key("global.theme", "t", "theme", "Theme", "Choose a theme; the screen shows each as you move."),
        Key("global.ascii", "a", "ascii", "ASCII", "Show plain ASCII characters, or go back to glyphs."),
        Key("global.slower", "less_than_sign", "slower", "Slower", "Refresh the screen less often."),
        Key("global.faster", "greater_than_sign", "faster", "Faster", "Refresh the screen more often."),
    ),
    "monitor": (
        Key(
            "item.open",
            "enter",
            "ask('open')",
            "Open",
            "Start the run, or open the item: its log, or why it runs.",
            footer=True,
        ),
        Key(
            "item.clear",
            "c",
            "ask('clear')",
            "Clear",
            "Clear the cached results of the item, its row or its stage.",
            footer=True,
        ),
        Key("item.why", "w", "ask('why')", "Why?", "Say why the item runs again.", footer=True),
        Key("item.log", "L", "ask('log')", "Log", "Open the item's log.", footer=True),
        Key("item.manifest", "m", "manifest", "Manifest", "Show what the manifest says of the item."),
        Key("item.cancel", "x", "ask('cancel_item')", "Cancel", "Cancel the item."),
        Key(
            "item.stream",
            "S",
            "ask('stream_item')",
            "Stream item",
            "Leave for the plain terminal with this item's log; S returns.",
        ),
        Key("run.undo", "z", "ask('undo')", "Undo", "Bring back what was cleared last."),
        Key(
            "run.stream",
            "s",
            "ask('stream')",
            "Stream",
            "Show everything as plain text; s returns.",
            footer=True,
        ),
        Key("run.retry", "r", "ask('retry')", "Retry", "Run failed and interrupted items again.", footer=True),
        Key("run.pause", "space", "ask('pause')", "Pause", "Start no more items, or go on."),
        Key("run.cancel", "X", "ask('cancel_run')", "Cancel run", "Cancel the run, after you typed its id."),
        Key("run.detach", "d", "ask('detach')", "Detach", "Leave; the run goes on without a screen.", footer=True),
        Key("view.plan", "p", "ask('plan')", "Plan", "Show what a run would do, and why.", footer=True),
        Key("view.runs", "R", "ask('runs')", "Runs", "Show earlier runs."),
        Key("view.cache", "C", "ask('cache')", "Cache", "Show what is kept, and how much room it takes."),
        Key("view.filter", "slash", "filter", "Filter", "Show only stages or settings that contain a text."),
        Key("copy.cell", "y", "ask('copy')", "Copy", "Copy what is selected: a key and folder, a line, a setting."),
        Key("copy.command", "Y", "ask('copy_command')", "Copy command", "Copy the command that does the same."),
        Key("pane.next", "tab", "focus_next_pane", "Next pane", "Go to the next pane."),
        Key("pane.previous", "shift+tab", "focus_previous_pane", "Previous pane", "Go to the pane before."),
        Key("pane.1", "1", "pane(1)", "Recipe", "Go to the recipe."),
        Key("pane.2", "2", "pane(2)", "Stages", "Go to the stages."),
        Key("pane.3", "3", "pane(3)", "Profiler", "Go to memory, CPU and GPU."),
        Key("pane.4", "4", "pane(4)", "Log", "Go to the log."),
        Key("pane.5", "5", "pane(5)", "Detail", "Go to the item's detail."),
        Key("pane.zoom", "plus", "zoom", "Zoom", "Let the pane fill the screen."),
        Key("pane.restore", "underscore", "restore", "Restore", "Show all panes again."),
        Key("pane.reset", "0", "reset_panes", "Reset", "Show all panes again, from the top."),
    ),
    "matrix": (
        Key("matrix.left", "left,h", "move(0,-1)", "Left", "Go left."),
        Key("matrix.down", "down,j", "move(1,0)", "Down", "Go down."),
        Key("matrix.up", "up,k", "move(-1,0)", "Up", "Go up."),
        Key("matrix.right", "right,l", "move(0,1)", "Right", "Go right."),
        Key("matrix.top", "home,g", "edge(-1)", "Top", "Go to the first row."),
        Key("matrix.bottom", "end,G", "edge(1)", "Bottom", "Go to the last row."),
        Key("matrix.page_up", "pageup,ctrl+u", "page(-1)", "Page up", "Go a page up."),
        Key("matrix.page_down", "pagedown,ctrl+d", "page(1)", "Page down", "Go a page down."),
    ),
    "tree": (
        Key("tree.open", "right,l", "open_node", "Open", "Open the group."),
        Key("tree.shut", "left,h", "shut_node", "Shut", "Shut the group, or go to the one around it."),
    ),
    "list": (
        Key("list.down", "down,j", "cursor_down", "Down", "Go down."),
        Key("list.up", "up,k", "cursor_up", "Up", "Go up."),
        Key("list.top", "home,g", "scroll_top", "Top", "Go to the first line."),
        Key("list.bottom", "end,G", "scroll_bottom", "Bottom", "Go to the last line."),
        Key("list.page_up", "pageup,ctrl+u", "page_up", "Page up", "Go a page up."),
        Key("list.page_down", "pagedown,ctrl+d", "page_down", "Page down", "Go a page down."),
    ),
    "plan": (
        Key("plan.run", "enter", "run", "Run", "Start the run.", footer=True),
        Key("plan.why", "w", "why", "Why?", "Say why the selected items run.", footer=True),
        Key("plan.edit", "e", "edit", "Edit", "Open the recipe in $EDITOR; saving it plans again.", footer=True),
        Key("plan.until", "o", "until", "Until", "Run up to the selected stage, nothing after it.", footer=True),
        Key("plan.force", "f", "force", "Force", "Make the selected stage again though it is cached.", footer=True),
        Key("plan.copy", "y", "copy", "Copy", "Copy the plan as text.", footer=True),
    ),
    "why": (
        Key("why.all", "A", "all", "All", "Show what is equal too.", footer=True),
        Key("why.revert", "u", "revert", "Revert", "Set the recipe's value back to the cached one.", footer=True),
        Key("why.edit", "e", "edit", "Edit", "Open the recipe in $EDITOR, at that line.", footer=True),
        Key("why.next", "n", "cause(1)", "Next", "Go to the next item that runs.", footer=True),
        Key("why.previous", "N", "cause(-1)", "Previous", "Go to the item before.", footer=True),
        Key("why.copy", "y", "copy", "Copy", "Copy the differences as text.", footer=True),
    ),
    "log": (
        Key("log.follow", "f", "follow", "Follow", "Stay at the end, or stop following.", footer=True),
        Key("log.search", "slash", "search", "Search", "Find a text.", footer=True),
        Key("log.next", "n", "next(1)", "Next", "Go to the next place it is found."),
        Key("log.previous", "N", "next(-1)", "Previous", "Go to the place before."),
        Key("log.error", "e", "next_error", "Next error", "Go to the next error.", footer=True),
        Key("log.wrap", "w", "wrap", "Wrap", "Wrap long lines, or cut them.", footer=True),
        Key("log.times", "T", "times", "Times", "Show when lines were written."),
        Key("log.pager", "o", "pager", "Pager", "Open the file in $PAGER.", footer=True),
        Key("log.copy", "y", "copy", "Copy", "Copy the line, or what is selected.", footer=True),
        Key("log.mark", "v", "mark", "Select", "Begin to select lines, or stop."),
        Key("log.left", "left,h", "sideways(-1)", "Left", "Go left in long lines."),
        Key("log.right", "right,l", "sideways(1)", "Right", "Go right in long lines."),
        Key("log.back", "escape", "back", "Back", "Leave the search or the selection, or go back.", footer=True),
    ),
    "runs": (
        Key("runs.open", "enter", "open", "Open", "Attach to a run that is going, or replay one.", footer=True),
        Key("runs.mark", "space", "mark", "Mark", "Mark a run to compare.", footer=True),
        Key("runs.compare", "equals_sign", "compare", "Compare", "Compare the two marked runs.", footer=True),
        Key("runs.filter", "slash", "filter", "Filter", "Show only runs that contain a text.", footer=True),
        Key("runs.copy", "y", "copy", "Copy", "Copy the table as text.", footer=True),
        Key("runs.export", "e", "export", "Export", "Write the table as Markdown and JSON."),
        Key(
            "runs.delete",
            "D",
            "delete",
            "Delete",
            "Delete a finished run's events and logs; results stay.",
            footer=True,
        ),
        Key("runs.back", "escape", "back", "Back", "Clear the filter, or go back.", footer=True),
    ),
    "compare": (
        Key("compare.all", "A", "all", "All", "Show what is equal too.", footer=True),
        Key("compare.copy", "y", "copy", "Copy", "Copy the comparison as text.", footer=True),
        Key("compare.back", "escape", "back", "Back", "Go back to the runs.", footer=True),
    ),
    "cache": (
        Key("cache.clear", "c", "clear", "Clear", "Clear the selected entry or stage.", footer=True),
        Key("cache.undo", "z", "undo", "Undo", "Bring back what was cleared last.", footer=True),
        Key(
            "cache.prune",
            "P",
            "prune",
            "Prune",
            "Delete for good what was cleared and what killed runs left.",
            footer=True,
        ),
        Key("cache.copy", "y", "copy", "Copy", "Copy the entry's folder.", footer=True),
        Key("cache.filter", "slash", "filter", "Filter", "Show only entries that contain a text.", footer=True),
        Key("cache.back", "escape", "back", "Back", "Clear the filter, or go back.", footer=True),
    ),
    "clear": (
        Key("clear.yes", "y", "answer(True)", "Clear", "Clear it.", footer=True),
        Key("clear.no", "n,escape,enter,ctrl+c", "answer(False)", "Keep", "Keep it.", footer=True),
        Key("clear.item", "i", "scope('item')", "Item", "Only this item.", footer=True),
        Key("clear.row", "r", "scope('row')", "Row", "All items of this stage at this AR.", footer=True),
        Key("clear.stage", "t", "scope('stage')", "Stage", "The whole stage.", footer=True),
        Key("clear.after", "a", "after", "After", "With everything made from it, or that alone.", footer=True),
    ),
    "confirm": (
        Key("confirm.yes", "y", "answer(True)", "Yes", "Yes.", footer=True),
        Key("confirm.no", "n,escape", "answer(False)", "No", "No.", footer=True),
    ),
    "help": (
        Key("help.filter", "slash", "filter", "Filter", "Show only keys and states that contain a text.", footer=True),
        Key("help.close", "escape,question_mark,q", "close", "Close", "Clear the filter, or close.", footer=True),
    ),
    "theme": (
        Key("theme.keep", "enter", "keep", "Keep", "Keep this theme, also for the next time.", footer=True),
        Key("theme.restore", "escape,q,t", "restore", "Back", "Go back to the theme from before.", footer=True),
    ),
}


def bindings(scope: str) -> list[BindingType]:
    """The Textual bindings of one scope. Aliases that would crowd the footer are left out of it."""
    return [
        Binding(key.keys, key.action, key.says, id=key.id, show=key.footer, tooltip=key.help) for key in KEYS[scope]
    ]


_SCOPES = {
    "MonitorScreen": ("monitor", "matrix", "tree"),
    "PlanScreen": ("plan", "list"),
    "WhyScreen": ("why", "list"),
    "LogScreen": ("log", "list"),
    "RunsScreen": ("runs", "list"),
    "CompareScreen": ("compare", "list"),
    "CacheScreen": ("cache", "list"),
    "ClearScreen": ("clear",),
}


def scopes_of(screen: object) -> tuple[str, ...]:
    """The scopes whose keys work on a screen, beside the global one."""
    return _SCOPES.get(type(screen).__name__, ())


def all_keys() -> Iterator[tuple[str, Key]]:
    """Every key with its scope."""
    for scope, keys in KEYS.items():
        for key in keys:
            yield scope, key
