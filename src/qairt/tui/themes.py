"""Themes: colours of statuses, graphs, borders and text. Each theme is a YAML file.

Shipped themes are in `themes/` of the repository (`qairt/themes` once installed), the user's own in
`$XDG_CONFIG_HOME/qairt/themes`. A user's theme replaces a shipped one of the same name.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, TypeVar

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError
from textual.app import App
from textual.color import Color, ColorParseError
from textual.theme import Theme

from qairt.recipe.yaml_file import NotAMapping, describe_error, read_yaml
from qairt.tui.theme_defaults import ANSI_DEFAULTS, LIGHT_DEFAULTS, VARIABLE_DEFAULTS
from qairt.user_folder import config_folder

__all__ = ["DEFAULT_THEME", "MONO_THEME", "VARIABLE_DEFAULTS", "load_themes", "read_theme", "register_all"]

DEFAULT_THEME = "qairt-dark"
MONO_THEME = "mono"
"""The theme without any hue."""

ReturnType = TypeVar("ReturnType")


def _colour(value: object) -> str:
    if value is None:
        raise ValueError("should be a colour in quotes, such as '#7aa8f7'; without quotes, # starts a comment")
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
    """Graphs, and the line of their limit."""

    ram: Colour | None = None
    cpu: Colour | None = None
    gpu: Colour | None = None
    limit: Colour | None = None


class StateColours(_Strict):
    """One colour for each item status."""

    waiting: Colour | None = None
    ready: Colour | None = None
    running: Colour | None = None
    quiet: Colour | None = None
    done: Colour | None = None
    cached: Colour | None = None
    shared: Colour | None = None
    stale: Colour | None = None
    warn: Colour | None = None
    failed: Colour | None = None
    blocked: Colour | None = None
    cancelled: Colour | None = None
    interrupted: Colour | None = None
    cleared: Colour | None = None
    on_demand: Colour | None = None


class ThemeFile(_Strict):
    """The content of a theme file. Colours it leaves out are those of Textual or qairt."""

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
    """Less important text."""
    border: Colour | None = None
    """Of panes without focus."""
    border_focus: Colour | None = None
    title: Colour | None = None
    state: StateColours = StateColours()
    graph: GraphColours = GraphColours()

    def theme(self) -> Theme:
        """The Textual theme."""
        ours = {
            **{f"state-{name}": colour for name, colour in self.state.model_dump().items()},
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
    """The folder of shipped themes: in the package, or at the top of a source checkout."""
    package = Path(__file__).parents[1]
    installed = package / "themes"
    return installed if installed.is_dir() else package.parents[1] / "themes"


def load_themes() -> tuple[list[Theme], list[str]]:
    """All valid themes, qairt's own look first, and a sentence for each invalid file."""
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
    """One theme, or its errors: `file:line: state.runing is not known; did you mean running?`."""
    try:
        file = read_yaml(path)
        return ThemeFile.model_validate(file.values).theme(), []
    except NotAMapping as fault:
        return None, [f"{fault}; the theme is ignored"]
    except FileNotFoundError:
        return None, [f"{path}: cannot be read: it was deleted, or is a broken link; the theme is ignored"]
    except ValidationError as error:
        problems = [f"{file.where(found['loc'])}: {describe_error(found, ThemeFile)}" for found in error.errors()]
        return None, [f"{problem}; the theme is ignored" for problem in problems]


def register_all(app: App[ReturnType]) -> list[str]:
    """Register every theme with `app`. Returns the errors of invalid theme files, which are ignored."""
    themes, problems = load_themes()
    for theme in themes:
        app.register_theme(theme)
    return problems
