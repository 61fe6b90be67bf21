"""Command-line options of the full screen."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

import typer


@dataclass(frozen=True)
class ScreenLook:
    """How the screen looks, and whether it can change anything."""

    readonly: Annotated[
        bool, typer.Option("--readonly", help="Show only: nothing can be started, cancelled or cleared.")
    ] = False
    ascii: Annotated[bool, typer.Option("--ascii", help="Use ASCII characters only.")] = False
    theme: Annotated[str | None, typer.Option("--theme", metavar="NAME", help="Colours, such as qairt-light.")] = None
    refresh: Annotated[
        float | None,
        typer.Option(
            "--refresh", metavar="HZ", min=0.1, max=10, help="Refreshes per second.", show_default="4; over SSH 2"
        ),
    ] = None

    def flags(self) -> dict[str, object]:
        """As settings of the user; None counts as not given."""
        return {"ascii": self.ascii or None, "theme": self.theme, "refresh": self.refresh}
