"""Default values of qairt's theme variables: for dark themes, light themes, and the terminal's own colours."""

from __future__ import annotations

VARIABLE_DEFAULTS: dict[str, str] = {
    "state-waiting": "#8f9bb0",
    "state-ready": "#b7c2d3",
    "state-running": "#7aa8f7",
    "state-quiet": "#e3b65b",
    "state-done": "#66c58f",
    "state-cached": "#57bfc9",
    "state-shared": "#b49cf2",
    "state-stale": "#e8965f",
    "state-warn": "#e3b65b",
    "state-failed": "#f57f7f",
    "state-blocked": "#b88f93",
    "state-cancelled": "#8f9bb0",
    "state-interrupted": "#d18fc4",
    "state-cleared": "#b7c2d3",
    "state-on_demand": "#b7c2d3",
    "graph-ram": "#7aa8f7",
    "graph-cpu": "#66c58f",
    "graph-gpu": "#b49cf2",
    "graph-limit": "#f57f7f",
    "border": "#6a768a",
    "border-focus": "#7aa8f7",
    "title": "#d6dde9",
}
"""qairt's variables as in `qairt-dark`, for themes that do not set them.

Textual has `border` too, for the focused widget.
"""

LIGHT_DEFAULTS: dict[str, str] = {
    "state-waiting": "#5a6576",
    "state-ready": "#3a4659",
    "state-running": "#1c5cc4",
    "state-quiet": "#855400",
    "state-done": "#17693c",
    "state-cached": "#0b6672",
    "state-shared": "#6b3fb8",
    "state-stale": "#a04208",
    "state-warn": "#855400",
    "state-failed": "#b3252b",
    "state-blocked": "#80515a",
    "state-cancelled": "#5a6576",
    "state-interrupted": "#8f3181",
    "state-cleared": "#3a4659",
    "state-on_demand": "#3a4659",
    "graph-ram": "#1c5cc4",
    "graph-cpu": "#17693c",
    "graph-gpu": "#6b3fb8",
    "graph-limit": "#b3252b",
    "border": "#78849a",
    "border-focus": "#1c5cc4",
    "title": "#1d2430",
}

_ANSI_CURSOR = {"foreground": "ansi_default", "background": "ansi_default", "text-style": "bold reverse"}
_PLAIN = (
    *("ansi-background", "ansi-foreground", "surface", "surface-active", "panel", "boost"),
    *("text-muted", "text-disabled", "foreground-muted", "foreground-disabled", "background-muted"),
    *(f"{role}-muted" for role in ("primary", "secondary", "accent", "warning", "error", "success")),
    *("border-blurred", "scrollbar", "scrollbar-hover", "scrollbar-active"),
    *("scrollbar-background", "scrollbar-background-hover", "scrollbar-background-active"),
    *("link-background-hover", "link-color", "link-color-hover", "footer-key-foreground"),
    *("input-selection-background", "screen-selection-background", "screen-selection-foreground"),
    *(f"markdown-h{level}-color" for level in range(1, 7)),
)
"""What Textual leaves out of a theme with the terminal's own colours, or gives a hue."""

ANSI_DEFAULTS: dict[str, str] = {
    **dict.fromkeys((*VARIABLE_DEFAULTS, *_PLAIN), "ansi_default"),
    **{f"block-cursor-{part}": value for part, value in _ANSI_CURSOR.items()},
    **{f"block-cursor-blurred-{part}": value for part, value in _ANSI_CURSOR.items()},
    "block-cursor-blurred-text-style": "underline",
}
"""No hue anywhere, and cursors that are visible without colour."""
