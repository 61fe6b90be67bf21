"""Themes: colours of states, graphs, borders and text, each theme a YAML file.

Those that come with qairt lie in `themes/` of the repository (`qairt/themes` once installed); a user's own in
`$XDG_CONFIG_HOME/qairt/themes`. A user's theme of a shipped name takes its place.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated, Any, get_args

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError, create_model
from textual.app import App
from textual.color import Color, ColorParseError
from textual.theme import Theme

from qairt.engine.record.state import ItemStatus
from qairt.tui.theme_defaults import ANSI_DEFAULTS, LIGHT_DEFAULTS, VARIABLE_DEFAULTS
from qairt.tui.yaml_file import NotAMapping, in_words, read_yaml

__all__ = ["DEFAULT_THEME", "MONO_THEME", "VARIABLE_DEFAULTS", "load_themes", "read_theme", "register_all"]

DEFAULT_THEME = "qairt-dark"
MONO_THEME = "mono"
"""The one without any hue."""


def _colour(value: Any) -> str:
    if value is None:
        raise ValueError("should be a colour in quotes, such as '#7aa8f7'; after a bare # all is a comment")
    if not isinstance(value, str):
        raise ValueError("should be a colour in quotes, such as '#7aa8f7'")
    try:
        Color.parse(value)
    except ColorParseError as fault:
        near = f"; did you mean {fault.suggested_color}?" if fault.suggested_color else ""
        raise ValueError(f"should be a colour such as '#7aa8f7'{near}") from fault
    return value


Colour = Annotated[str, BeforeValidator(_colour)]


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True)


class GraphColours(_Strict):
    """Curves, and the line of their limit."""

    ram: Colour | None = None
    cpu: Colour | None = None
    gpu: Colour | None = None
    limit: Colour | None = None


_STATES: dict[str, Any] = dict.fromkeys(get_args(ItemStatus), (Colour | None, None))
StateColours: type[BaseModel] = create_model("StateColours", __base__=_Strict, **_STATES)
"""One colour for each state of an item."""


class ThemeFile(_Strict):
    """What a theme file may say. Where it says nothing, Textual's or qairt's own colour stands."""

    name: str = Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_-]*$", max_length=40)
    dark: bool = True
    ansi: bool = False
    """The terminal's own 16 colours (`ansi_blue`, …), its own background and foreground."""
    primary: Colour
    secondary: Colour | None = None
    accent: Colour | None = None
    foreground: Colour | None = None
    background: Colour | None = None
    surface: Colour | None = None
    panel: Colour | None = None
    success: Colour | None = None
    warning: Colour | None = None
    error: Colour | None = None
    muted: Colour | None = None
    """Text of less weight."""
    border: Colour | None = None
    """Of a pane without the focus."""
    border_focus: Colour | None = None
    title: Colour | None = None
    state: StateColours = StateColours()  # type: ignore[valid-type]
    graph: GraphColours = GraphColours()

    def theme(self) -> Theme:
        """The same for Textual."""
        ours = {
            **{f"state-{name}": colour for name, colour in self.state.model_dump().items()},  # type: ignore[attr-defined]
            **{f"graph-{name}": colour for name, colour in self.graph.model_dump().items()},
            "border": self.border,
            "border-focus": self.border_focus,
            "title": self.title,
            "text-muted": self.muted,
            "foreground-muted": self.muted,
        }
        given = {name: colour for name, colour in ours.items() if colour}
        if self.ansi:
            base = ANSI_DEFAULTS
        else:
            base = dict(VARIABLE_DEFAULTS if self.dark else LIGHT_DEFAULTS)
            base |= _quiet_scrollbars({**base, **given})
        roles = self.model_dump(
            include={"primary", "secondary", "accent", "foreground", "background", "surface", "panel"}
            | {"success", "warning", "error"}
        )
        return Theme(name=self.name, dark=self.dark, ansi=self.ansi, variables={**base, **given}, **roles)


def _quiet_scrollbars(variables: dict[str, str]) -> dict[str, str]:
    border, focus = variables["border"], variables["border-focus"]
    return {"scrollbar": border, "scrollbar-hover": focus, "scrollbar-active": focus, "border-blurred": border}


def shipped_themes() -> Path:
    """The folder of themes that come with qairt: in the package, or at the top of a source checkout."""
    package = Path(__file__).parents[1]
    installed = package / "themes"
    return installed if installed.is_dir() else package.parents[1] / "themes"


def config_folder() -> Path:
    """Where a user's settings and themes are kept."""
    config = os.environ.get("XDG_CONFIG_HOME") or "~/.config"
    return Path(os.path.expanduser(config)) / "qairt"


def load_themes() -> tuple[list[Theme], list[str]]:
    """Every theme that could be read, qairt's own look first, and a sentence for each file that could not."""
    themes: dict[str, Theme] = {}
    problems: list[str] = []
    for folder in (shipped_themes(), config_folder() / "themes"):
        for path in sorted(folder.glob("*.y*ml")):
            theme, found = read_theme(path)
            if theme is not None:
                themes[theme.name] = theme
            problems += found
    return sorted(themes.values(), key=lambda theme: (not theme.name.startswith("qairt-"), theme.name)), problems


def read_theme(path: Path) -> tuple[Theme | None, list[str]]:
    """One theme, or what is wrong with its file: `file:line: state.runing is not known; did you mean running?`."""
    try:
        file = read_yaml(path)
        return ThemeFile.model_validate(file.values).theme(), []
    except NotAMapping as fault:
        return None, [f"{fault}; the theme is left out"]
    except FileNotFoundError:
        return None, [f"{path}: cannot be read: it is gone, or a link to nothing; the theme is left out"]
    except ValidationError as error:
        said = [f"{file.where(found['loc'])}: {in_words(found, ThemeFile)}" for found in error.errors()]
        return None, [f"{sentence}; the theme is left out" for sentence in said]


def register_all(app: App[Any]) -> list[str]:
    """Make every theme known to `app`. Returns what was wrong with theme files; those are left out."""
    themes, problems = load_themes()
    for theme in themes:
        app.register_theme(theme)
    return problems
