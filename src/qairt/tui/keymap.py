"""Every key of the terminal interface, in one table: bindings, the help screen and keys.md are generated from it.

Users can assign a key to another action by its id in their settings: `keys: {item.clear: ctrl+x}`.
"""

from __future__ import annotations

from collections.abc import Iterator

from textual.binding import Binding, BindingType

from qairt.tui.key import Key
from qairt.tui.keymap_pages import PAGE_KEYS

KEYS: dict[str, tuple[Key, ...]] = {
    "global": (
        Key("global.help", "question_mark", "help", "Help", "Show every key of this screen.", footer=True),
        Key(
            "global.suspend",
            "ctrl+z",
            "suspend_process",
            "Suspend",
            "Stop this program and go to the shell; fg returns.",
        ),
        Key("global.palette", "ctrl+p,colon", "command_palette", "Commands", "Find a command by name."),
        Key("global.back", "escape", "back", "Back", "Go back, or clear the filter."),
        Key("global.quit", "q", "leave", "Quit", "Quit. This never ends an active run."),
        Key(
            "global.copy_or_quit",
            "ctrl+c",
            "copy_or_leave",
            "Copy",
            "Copy the selected text; without a selection, quit.",
        ),
        Key("global.theme", "t", "theme", "Theme", "Choose a theme, with a live preview."),
        Key("global.ascii", "a", "ascii", "ASCII", "Switch between glyphs and plain ASCII."),
        Key("global.slower", "less_than_sign", "slower", "Slower", "Refresh the screen less often."),
        Key("global.faster", "greater_than_sign", "faster", "Faster", "Refresh the screen more often."),
    ),
    "monitor": (
        Key(
            "item.open",
            "enter",
            "request('open')",
            "Open",
            "Open the item's log, or why it runs; before a run, the plan.",
            footer=True,
        ),
        Key(
            "item.clear",
            "c",
            "request('clear')",
            "Clear",
            "Clear cached results of the item, its row or its stage.",
            footer=True,
        ),
        Key("item.why", "w", "request('why')", "Why?", "Show why the item will run.", footer=True),
        Key("item.log", "L", "request('log')", "Log", "Open the item's log.", footer=True),
        Key(
            "item.needs",
            "n",
            "request('needs')",
            "Needs",
            "Show what the item needs, and what needs it.",
        ),
        Key("item.manifest", "m", "manifest", "Manifest", "Show the item's manifest entry."),
        Key("item.cancel", "x", "request('cancel_item')", "Cancel", "Cancel the item."),
        Key(
            "item.stream",
            "S",
            "request('stream_item')",
            "Stream item",
            "Print the item's log on the plain terminal; S returns.",
        ),
        Key("run.undo", "z", "request('undo')", "Undo", "Undo the last clear."),
        Key(
            "run.stream",
            "s",
            "request('stream')",
            "Stream",
            "Print the run's events on the plain terminal; s returns.",
            footer=True,
        ),
        Key("run.retry", "r", "request('retry')", "Retry", "Run failed and interrupted items again.", footer=True),
        Key("run.pause", "space", "request('pause')", "Pause", "Pause the run (running items finish), or resume it."),
        Key("run.cancel", "X", "request('cancel_run')", "Cancel run", "Cancel the run; type its id to confirm."),
        Key("run.detach", "d", "request('detach')", "Detach", "Quit; the run continues without a screen.", footer=True),
        Key("view.plan", "p", "request('plan')", "Plan", "Show what a run would do, and why.", footer=True),
        Key("view.runs", "R", "request('runs')", "Runs", "List all runs."),
        Key("view.cache", "C", "request('cache')", "Cache", "Show the cache: its entries, their sizes and users."),
        Key("view.results", "E", "request('results')", "Results", "Show what the run made, and what to do with it."),
        Key("view.filter", "slash", "filter", "Filter", "Filter stages and settings by text."),
        Key(
            "copy.cell",
            "y",
            "request('copy')",
            "Copy",
            "Copy the selection: an item's key and folder, a log line, a setting.",
        ),
        Key(
            "copy.command",
            "Y",
            "request('copy_command')",
            "Copy command",
            "Copy the qairt command that runs up to this stage.",
        ),
        Key("pane.next", "tab", "focus_next_pane", "Next pane", "Go to the next pane."),
        Key("pane.previous", "shift+tab", "focus_previous_pane", "Previous pane", "Go to the previous pane."),
        Key("pane.1", "1", "pane(1)", "Recipe", "Go to the recipe."),
        Key("pane.2", "2", "pane(2)", "Stages", "Go to the stages."),
        Key("pane.3", "3", "pane(3)", "Profiler", "Go to the memory, CPU and GPU graphs."),
        Key("pane.4", "4", "pane(4)", "Log", "Go to the log."),
        Key("pane.5", "5", "pane(5)", "Detail", "Go to the item's details."),
        Key("pane.zoom", "plus", "zoom", "Zoom", "Maximize the pane."),
        Key("pane.restore", "underscore", "restore", "Restore", "Show all panes again."),
        Key("pane.reset", "0", "reset_panes", "Reset", "Show all panes and go to the stages."),
    ),
    "matrix": (
        Key("matrix.left", "left,h", "move(0,-1)", "Left", "Go left."),
        Key("matrix.down", "down,j", "move(1,0)", "Down", "Go down."),
        Key("matrix.up", "up,k", "move(-1,0)", "Up", "Go up."),
        Key("matrix.right", "right,l", "move(0,1)", "Right", "Go right."),
        Key("matrix.top", "home,g", "edge(-1)", "Top", "Go to the first row."),
        Key("matrix.bottom", "end,G", "edge(1)", "Bottom", "Go to the last row."),
        Key("matrix.page_up", "pageup,ctrl+u", "page(-1)", "Page up", "Go one page up."),
        Key("matrix.page_down", "pagedown,ctrl+d", "page(1)", "Page down", "Go one page down."),
        Key("matrix.fold", "minus", "fold", "Fold", "Fold the stage into one row, or open it."),
        Key("matrix.fold_all", "asterisk", "fold_all", "Fold all", "Fold all stages, or open them all."),
    ),
    "tree": (
        Key("tree.open", "right,l", "open_node", "Open", "Expand the group."),
        Key("tree.shut", "left,h", "shut_node", "Shut", "Collapse the group, or go to its parent."),
    ),
    "list": (
        Key("list.down", "down,j", "cursor_down", "Down", "Go down."),
        Key("list.up", "up,k", "cursor_up", "Up", "Go up."),
        Key("list.top", "home,g", "scroll_top", "Top", "Go to the first line."),
        Key("list.bottom", "end,G", "scroll_bottom", "Bottom", "Go to the last line."),
        Key("list.page_up", "pageup,ctrl+u", "page_up", "Page up", "Go one page up."),
        Key("list.page_down", "pagedown,ctrl+d", "page_down", "Page down", "Go one page down."),
    ),
    "plan": (
        Key("plan.run", "enter", "run", "Run", "Start the run.", footer=True),
        Key("plan.why", "w", "why", "Why?", "Show why the selected items will run.", footer=True),
        Key(
            "plan.edit", "e", "edit", "Edit", "Open the recipe in $EDITOR; the plan is updated afterwards.", footer=True
        ),
        Key(
            "plan.until", "o", "until", "Until", "Run only up to the selected stage, or to the end again.", footer=True
        ),
        Key(
            "plan.force", "f", "force", "Force", "Rebuild the selected stage even if it is cached, or not.", footer=True
        ),
        Key("plan.fold", "minus", "fold", "Fold", "Show the stage as one row, or as one for each AR."),
        Key("plan.fold_all", "asterisk", "fold_all", "Fold all", "Fold all stages, or open them all."),
        Key("plan.sort", "s", "sort", "Sort", "Sort by time, memory or size, or in the order of the stages."),
        Key("plan.copy", "y", "copy", "Copy", "Copy the plan as text.", footer=True),
    ),
    "why": (
        Key("why.all", "A", "all", "All", "Show unchanged values too, or only differences.", footer=True),
        Key("why.revert", "u", "revert", "Revert", "Set the recipe's value back to the cached one.", footer=True),
        Key("why.edit", "e", "edit", "Edit", "Open the recipe in $EDITOR at this value.", footer=True),
        Key("why.next", "n", "cause(1)", "Next", "Go to the next item that will run.", footer=True),
        Key("why.previous", "N", "cause(-1)", "Previous", "Go to the previous one.", footer=True),
        Key("why.copy", "y", "copy", "Copy", "Copy the differences as text.", footer=True),
    ),
    "log": (
        Key("log.follow", "f", "follow", "Follow", "Follow the end of the log, or stop following.", footer=True),
        Key("log.search", "slash", "search", "Search", "Search for text.", footer=True),
        Key("log.next", "n", "next(1)", "Next", "Go to the next match."),
        Key("log.previous", "N", "next(-1)", "Previous", "Go to the previous match."),
        Key("log.error", "e", "next_error", "Next error", "Go to the next error.", footer=True),
        Key("log.wrap", "w", "wrap", "Wrap", "Wrap long lines, or cut them off.", footer=True),
        Key("log.times", "T", "times", "Times", "Show the time of each line, or hide it."),
        Key("log.pager", "o", "pager", "Pager", "Open the file in $PAGER.", footer=True),
        Key("log.copy", "y", "copy", "Copy", "Copy the line or the selection.", footer=True),
        Key("log.mark", "v", "mark", "Select", "Start selecting lines, or stop."),
        Key("log.left", "left,h", "sideways(-1)", "Left", "Scroll left."),
        Key("log.right", "right,l", "sideways(1)", "Right", "Scroll right."),
        Key("log.back", "escape", "back", "Back", "End the search or the selection, or go back.", footer=True),
    ),
    "runs": (
        Key("runs.open", "enter", "open", "Open", "Attach to an active run, or replay a finished one.", footer=True),
        Key("runs.mark", "space", "mark", "Mark", "Mark a run for comparison.", footer=True),
        Key("runs.compare", "equals_sign", "compare", "Compare", "Compare the two marked runs.", footer=True),
        Key("runs.sort", "o", "sort", "Sort", "Sort by the next column."),
        Key("runs.reverse", "O", "reverse", "Reverse", "Sort the other way round."),
        Key("runs.filter", "slash", "filter", "Filter", "Filter runs by text.", footer=True),
        Key("runs.copy", "y", "copy", "Copy", "Copy the table as text.", footer=True),
        Key("runs.export", "e", "export", "Export", "Write the table as Markdown and JSON."),
        Key(
            "runs.delete",
            "D",
            "delete",
            "Delete",
            "Delete a finished run's events and logs; its results stay in the cache.",
            footer=True,
        ),
        Key("runs.back", "escape", "back", "Back", "Clear the filter, or go back.", footer=True),
    ),
    "compare": (
        Key("compare.all", "A", "all", "All", "Show unchanged values too, or only differences.", footer=True),
        Key("compare.copy", "y", "copy", "Copy", "Copy the comparison as Markdown.", footer=True),
        Key("compare.back", "escape", "back", "Back", "Go back to the runs.", footer=True),
    ),
    "cache": (
        Key("cache.clear", "c", "clear", "Clear", "Clear the selected entry or stage.", footer=True),
        Key("cache.undo", "z", "undo", "Undo", "Undo the last clear.", footer=True),
        Key(
            "cache.prune",
            "P",
            "prune",
            "Prune",
            "Permanently delete cleared entries and leftovers of killed runs.",
            footer=True,
        ),
        Key("cache.copy", "y", "copy", "Copy", "Copy the entry's folder.", footer=True),
        Key("cache.sort", "o", "sort", "Sort", "Sort by size, time, age, or in the order of the stages."),
        Key("cache.filter", "slash", "filter", "Filter", "Filter entries by text.", footer=True),
        Key("cache.back", "escape", "back", "Back", "Clear the filter, or go back.", footer=True),
    ),
    **PAGE_KEYS,
}


def bindings(scope: str) -> list[BindingType]:
    """The Textual bindings of one scope."""
    return [
        Binding(key.keys, key.action, key.label, id=key.id, show=key.footer, tooltip=key.help) for key in KEYS[scope]
    ]


_SCOPES = {
    "MonitorScreen": ("monitor", "matrix", "log", "tree", "list"),
    "PlanScreen": ("plan", "list"),
    "WhyScreen": ("why", "list"),
    "LogScreen": ("log", "list"),
    "RunsScreen": ("runs", "list"),
    "CompareScreen": ("compare", "list"),
    "CacheScreen": ("cache", "list"),
    "ClearScreen": ("clear",),
    "EndingScreen": ("ending", "list"),
    "NeedsScreen": ("needs", "list"),
    "CommandScreen": ("command", "log", "list"),
}


def scopes_of(screen: object) -> tuple[str, ...]:
    """The scopes whose keys work on a screen, besides the global one."""
    return _SCOPES.get(type(screen).__name__, ())


def all_keys() -> Iterator[tuple[str, Key]]:
    """Every key with its scope."""
    for scope, keys in KEYS.items():
        for key in keys:
            yield scope, key
