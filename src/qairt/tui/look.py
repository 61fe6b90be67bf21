"""How the app looks: what the user chose, as far as the terminal can show it."""

from __future__ import annotations

import codecs
from collections.abc import Mapping
from dataclasses import dataclass

from qairt.tui.settings import UserSettings
from qairt.tui.terminal.glyphs import GraphStyle, Look
from qairt.tui.themes import MONO_THEME

DEFAULT_REFRESH = 4.0
REFRESH_OVER_SSH = 2.0


@dataclass(frozen=True)
class Appearance:
    """The look, theme and refresh rate that the app starts with."""

    look: Look
    theme: str
    ansi_color: bool | None
    """For `App.__init__`; only there it keeps Textual from sending greys for `NO_COLOR`. None: as the theme says."""
    refresh: float
    """Screen refreshes per second, at most."""
    spares: bool = False
    """Fewer of them, where they cost too much of a core."""
    reasons: tuple[str, ...] = ()
    """What was chosen because of the terminal, in sentences."""


def choose_look(settings: UserSettings, environ: Mapping[str, str], encoding: str) -> Appearance:
    """Adapt the settings to the terminal.

    Args:
        settings: including command-line flags.
        environ: the environment; `NO_COLOR`, `TERM` and `SSH_CONNECTION` are used.
        encoding: of standard output.
    """
    reasons: list[str] = []
    theme, ansi_color = settings.theme, None
    if "NO_COLOR" in environ:  # even if empty, as in Textual
        theme, ansi_color = MONO_THEME, True
        reasons.append("no colours, because NO_COLOR is set")
    ascii_only = settings.ascii
    if not ascii_only and not _is_utf8(encoding):
        ascii_only = True
        reasons.append(f"plain ASCII, because the locale's encoding is {encoding or 'unknown'}, not UTF-8")
    graph: GraphStyle = settings.graph or "braille"
    if ascii_only:
        graph = "ascii"
    elif settings.graph is None and environ.get("TERM") == "linux":
        graph = "block"
        reasons.append("block graphs, because the Linux console has no braille (TERM=linux)")
    refresh = settings.refresh or DEFAULT_REFRESH
    if settings.refresh is None and environ.get("SSH_CONNECTION"):
        refresh = REFRESH_OVER_SSH
        reasons.append(f"{REFRESH_OVER_SSH:.0f} refreshes per second, because this is an SSH connection")
    return Appearance(Look(ascii_only, graph), theme, ansi_color, refresh, settings.refresh is None, tuple(reasons))


def _is_utf8(encoding: str) -> bool:
    try:
        return codecs.lookup(encoding).name == "utf-8"
    except LookupError:
        return False
