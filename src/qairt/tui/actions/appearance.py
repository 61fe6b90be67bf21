"""Help, themes and ASCII."""

from __future__ import annotations

from dataclasses import replace

from qairt.tui.keymap import scopes_of
from qairt.tui.settings import UserSettings
from qairt.tui.terminal.glyphs import Look
from qairt.tui.themes import load_themes
from qairt.tui.workspace import Workspace


class AppearanceActions:
    """Explains and changes how the screen looks."""

    def __init__(self, workspace: Workspace, settings: UserSettings) -> None:
        self._workspace = workspace
        self._settings = settings
        look = workspace.look
        self._glyphs = replace(look, ascii=False, graph="braille" if look.ascii else look.graph)
        """The look without ASCII."""

    def open_help(self) -> None:
        from qairt.tui.screens.help import HelpScreen

        app = self._workspace.app
        if not isinstance(app.screen, HelpScreen):
            scopes = (*scopes_of(app.screen), "global")
            app.push_screen(HelpScreen(scopes, self._workspace.look, self._settings.keys))

    def open_themes(self) -> None:
        from qairt.tui.screens.theme import ThemeScreen

        app = self._workspace.app
        if isinstance(app.screen, ThemeScreen):
            return
        note = "NO_COLOR is set: colours are off" if app.ansi_color else ""
        names = [theme.name for theme in load_themes()[0]]

        def preview(name: str) -> None:
            app.theme = name

        app.push_screen(ThemeScreen(names, app.theme, self._workspace.look, preview, note), self._theme_chosen)

    def toggle_ascii(self) -> None:
        ascii_look = Look(ascii=True, graph="ascii")
        self._workspace.set_look(self._glyphs if self._workspace.look.ascii else ascii_look)

    def _theme_chosen(self, name: str | None) -> None:
        if name is None or self._workspace.readonly:
            return
        from qairt.tui.settings import save_theme

        self._workspace.app.notify(save_theme(name), markup=False)
