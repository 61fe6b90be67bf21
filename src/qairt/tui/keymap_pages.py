"""Keys of dialogs and of pages beside the monitor; `keymap` holds the others."""

from __future__ import annotations

from qairt.tui.key import Key

PAGE_KEYS: dict[str, tuple[Key, ...]] = {
    "clear": (
        Key("clear.yes", "y", "answer(True)", "Clear", "Clear.", footer=True),
        Key("clear.no", "n,escape,enter,ctrl+c", "answer(False)", "Keep", "Keep everything.", footer=True),
        Key("clear.item", "i", "scope('item')", "Item", "Only this item.", footer=True),
        Key("clear.row", "r", "scope('row')", "Row", "All items of this stage at this AR.", footer=True),
        Key("clear.stage", "t", "scope('stage')", "Stage", "The whole stage.", footer=True),
        Key("clear.after", "a", "after", "After", "Include everything built from it, or not.", footer=True),
    ),
    "confirm": (
        Key("confirm.yes", "y", "answer(True)", "Yes", "Yes.", footer=True),
        Key("confirm.no", "n,escape", "answer(False)", "No", "No.", footer=True),
    ),
    "needs": (
        Key("needs.open", "enter", "open", "Select", "Select this item on the monitor.", footer=True),
        Key("needs.back", "escape", "back", "Back", "Go back.", footer=True),
    ),
    "picker": (
        Key("picker.open", "enter", "open", "Open", "Open the recipe, or the run.", footer=True),
        Key("picker.sort", "o", "sort", "Sort", "Sort by the next column, or as they were.", footer=True),
        Key("picker.filter", "slash", "filter", "Filter", "Filter by text.", footer=True),
        Key("picker.back", "escape", "back", "Back", "Clear the filter, or quit.", footer=True),
        Key("picker.quit", "q,ctrl+c", "leave", "Quit", "Quit.", footer=True),
    ),
    "ending": (
        Key("ending.generate", "g", "after('generate')", "Generate", "Answer a prompt with the model.", footer=True),
        Key("ending.evaluate", "e", "after('evaluate')", "Evaluate", "Measure how good the model is.", footer=True),
        Key(
            "ending.verify",
            "v",
            "after('verify')",
            "Verify",
            "Compare each stage's graphs with the float model.",
            footer=True,
        ),
        Key("ending.report", "r", "after('report')", "Report", "Write one page about the run.", footer=True),
        Key("ending.export", "x", "after('export')", "Export", "Copy the bundle to a folder.", footer=True),
        Key("ending.copy", "y", "copy", "Copy", "Copy the folder of the results."),
        Key("ending.back", "enter,escape", "back", "Stages", "Go to the stages of the run.", footer=True),
    ),
    "command": (
        Key("command.cancel", "x", "cancel", "Cancel", "Cancel the command; what it finished is kept.", footer=True),
        Key("command.back", "escape", "back", "Back", "Go back; the command goes on.", footer=True),
    ),
    "help": (
        Key("help.filter", "slash", "filter", "Filter", "Filter keys and signs by text.", footer=True),
        Key("help.close", "escape,question_mark,q", "close", "Close", "Clear the filter, or close.", footer=True),
    ),
    "theme": (
        Key("theme.keep", "enter", "keep", "Keep", "Save this theme as the default.", footer=True),
        Key("theme.restore", "escape,q,t", "restore", "Back", "Go back to the previous theme.", footer=True),
    ),
}
