"""Asking before something is deleted or cancelled."""

from __future__ import annotations

import sys

import typer

from qairt.cli.console import is_terminal, shown
from qairt.errors import RecipeError


def confirmed(question: str) -> bool:
    """Ask on a terminal.

    Raises:
        RecipeError: there is no terminal.
    """
    if not is_interactive():
        raise RecipeError(f"not confirmed: {question}", remedy="give --yes: there is no terminal to confirm on")
    return typer.confirm(shown(question))


def is_interactive() -> bool:
    return is_terminal() and sys.stdin.isatty()
