"""Screens to look at: logs, earlier runs, keys, themes; and copying what is selected."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import TYPE_CHECKING

from qairt.engine.cache.cache import Entry, StageCache
from qairt.engine.plan.planned import PlannedItem
from qairt.engine.record.folder import RunFolder, run_folders
from qairt.engine.record.state import BUSY, ItemState
from qairt.tui.keymap import scopes_of
from qairt.tui.shell import Shell
from qairt.tui.terminal.glyphs import Look
from qairt.tui.terminal.scrollbar import use_scrollbars
from qairt.tui.themes import load_themes

if TYPE_CHECKING:
    from qairt.tui.screens.runs import RunsScreen


class Looking(Shell):
    """Keys that show something."""

    # Items

    def find_item(self, stage: str, label: str) -> tuple[PlannedItem | None, Entry | None]:
        plan = self.project.planned.plan
        planned = next((each for each in plan.items if each.name == f"{stage} {label}"), None) if plan else None
        state = self.session.state.items.get((stage, label))
        key = state.key if state and state.key else planned.key if planned else ""
        entry = StageCache(self.project.cache_dir).entry(key) if key else None
        return planned, entry

    def find_log(self, item: ItemState) -> Path | None:
        if item.log and Path(item.log).is_file():
            return Path(item.log)
        if item.status in ("waiting", "ready", "stale"):
            return None
        name = f"{item.stage}.{item.label}.log"
        folders = reversed(run_folders(self.project.state_folder))
        return next((run.logs / name for run in folders if (run.logs / name).is_file()), None)

    def ask_open(self) -> None:
        """Open what is selected: while nothing runs, the plan; else the log, or why it will run."""
        item = self.monitor.selected
        if item is None or self.session.kind == "plan":
            self.ask_plan()
        elif item.status in ("waiting", "ready", "stale", "blocked"):
            self.ask_why()
        else:
            self.ask_log()

    def ask_log(self) -> None:
        item = self.monitor.selected
        path = self.find_log(item) if item else None
        if item is None or path is None:
            self.notify("there is no log of it: it did not run yet")
            return
        from qairt.tui.screens.log import LogScreen

        self.push_screen(LogScreen(path, item.name, self.look, running=item.status in BUSY, seconds=1 / self.rate))

    # Runs

    def ask_runs(self) -> None:
        from qairt.tui.screens.runs import RunsScreen

        self.push_screen(RunsScreen(self.project.state_folder, self.look, readonly=self.readonly))

    def on_runs_screen_open(self, event: RunsScreen.Open) -> None:
        if self.owns_engine:
            self.notify(f"run {self.session.state.run_id} lives in this program: cancel it or wait for its end first")
        else:
            self.attach(RunFolder(self.project.state_folder / "runs" / event.run_id))

    # Keys and themes

    def action_help(self) -> None:
        from qairt.tui.screens.help import HelpScreen

        scopes = scopes_of(self.screen)
        if not isinstance(self.screen, HelpScreen):
            self.push_screen(HelpScreen((*scopes, "global"), self.look, self.settings.keys))

    def action_theme(self) -> None:
        from qairt.tui.screens.theme import ThemeScreen

        if isinstance(self.screen, ThemeScreen):
            return
        fact = "NO_COLOR is set: colours are not shown" if self.ansi_color else ""
        names = [theme.name for theme in load_themes()[0]]

        def preview(name: str) -> None:
            self.theme = name

        self.push_screen(ThemeScreen(names, self.theme, self.look, preview, fact), self._theme_chosen)

    def action_change_theme(self) -> None:
        """What Textual's own palette calls."""
        self.action_theme()

    def action_ascii(self) -> None:
        self.look = self.usual_look if self.look.ascii else Look(ascii=True, graph="ascii")
        use_scrollbars(self.look)
        self.set_class(self.look.ascii, "-ascii")
        self.monitor.look = self.look
        for screen in self.screen_stack:
            if hasattr(screen, "look"):
                screen.look = self.look
            screen.set_class(self.look.ascii, "-ascii")
            screen.refresh_bindings()  # the footer names keys
        self.screen.refresh(layout=True)
        self._show(changed=True)

    def _theme_chosen(self, name: str | None) -> None:
        if name is None or self.readonly:
            return
        from qairt.tui.settings import save_theme

        self.notify(save_theme(name), markup=False)

    # Copying

    def ask_copy(self) -> None:
        """What the focused pane has selected."""
        focused = self.focused_widget()
        text = ""
        if focused is not None:
            text = getattr(focused, "copy_text", "")
        item = self.monitor.selected
        if not text and item is not None:
            _, entry = self.find_item(item.stage, item.label)
            text = "\n".join([item.name, item.key, *([str(entry.directory)] if entry else [])])
        if text:
            self.say_copied(text)

    def ask_copy_command(self) -> None:
        """The command that makes the selected item again."""
        item = self.monitor.selected
        words = self.project.command()
        if item is not None:
            words += ["--until", item.stage]
        self.say_copied(shlex.join(["qairt", *words]))
