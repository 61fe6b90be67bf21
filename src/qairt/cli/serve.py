"""`qairt tui --serve`: the screen in a browser on this machine, for looking only."""

from __future__ import annotations

import shlex
import sys
from collections.abc import Sequence
from pathlib import Path

from qairt.cli.console import say
from qairt.errors import ToolchainNotAvailable


def serve_in_browser(recipe: Path, overrides: Sequence[str], cache_dir: Path | None, port: int) -> None:
    """Serve until interrupted. Only this machine can connect, and nothing can be started, asked or cleared.

    Raises:
        ToolchainNotAvailable: textual-serve is not installed.
    """
    try:
        from textual_serve.server import Server
    except ImportError as error:
        raise ToolchainNotAvailable(
            "serving to a browser needs textual-serve", remedy="pip install 'qairt[serve]'"
        ) from error
    words = [sys.executable, "-m", "qairt", "tui", str(recipe), *overrides, "--readonly"]
    words += ["--cache-dir", str(cache_dir)] if cache_dir else []
    say(f"http://localhost:{port}   (Ctrl-C ends it; from another machine: ssh -L {port}:localhost:{port} HOST)")
    Server(shlex.join(words), host="localhost", port=port, title=f"qairt {recipe.name}").serve()
