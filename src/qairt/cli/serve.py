"""`qairt tui --serve`: the screen in a browser on this machine, for looking only."""

from __future__ import annotations

import re
import shlex
import socket
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import typer

from qairt.cli.console import say
from qairt.errors import ToolchainNotAvailable

if TYPE_CHECKING:
    from aiohttp import web
    from aiohttp.typedefs import Handler

_HOST = "localhost"
_FROM_ELSEWHERE = re.compile(r'<link[^>]*href="https?://(?!localhost)[^>]*>')
_TAKE_KEYS = """<script>
const wait = setInterval(() => {
  const keys = document.querySelector(".xterm-helper-textarea");
  if (keys && document.body.classList.contains("-first-byte")) { clearInterval(wait); keys.focus(); }
}, 50);
</script>"""
"""Gives the terminal the keyboard without a click; until then Textual shows no footer."""


def serve_in_browser(recipe: Path, overrides: Sequence[str], cache_dir: Path | None, port: int) -> None:
    """Serve until interrupted. Only this machine can connect, and nothing can be started, asked or cleared.

    Raises:
        ToolchainNotAvailable: textual-serve is not installed.
        BadParameter: the port is taken.
    """
    try:
        from aiohttp import web
        from textual_serve.server import Server
    except ImportError as error:
        raise ToolchainNotAvailable(
            "serving to a browser needs textual-serve", remedy="pip install 'qairt[serve]'"
        ) from error
    _check_free(port)
    own = {f"http://{name}:{port}" for name in (_HOST, "127.0.0.1", "[::1]")}

    @web.middleware
    async def ours(request: web.Request, handler: Handler) -> web.StreamResponse:
        """A page from elsewhere must not reach the screen; ours fetches nothing from there."""
        if request.headers.get("Origin", next(iter(own))) not in own:
            raise web.HTTPForbidden
        answer = await handler(request)
        assert isinstance(answer, web.StreamResponse)
        if request.path == "/" and isinstance(answer, web.Response) and answer.text:
            answer.text = _FROM_ELSEWHERE.sub("", answer.text).replace("</body>", f"{_TAKE_KEYS}</body>")
        return answer

    class QuietServer(Server):
        """Says nothing of itself, nor of each request."""

        def initialize_logging(self) -> None:
            pass

        async def on_startup(self, app: web.Application) -> None:
            pass

        async def _make_app(self) -> web.Application:
            app: web.Application = await super()._make_app()
            app.middlewares.append(ours)
            return app

    words = [sys.executable, "-m", "qairt", "tui", str(recipe), *overrides, "--readonly"]
    words += ["--cache-dir", str(cache_dir)] if cache_dir else []
    say(f"http://{_HOST}:{port}   (Ctrl-C ends it; from another machine: ssh -L {port}:{_HOST}:{port} HOST)")
    QuietServer(shlex.join(words), host=_HOST, port=port, title=f"qairt {recipe.name}").serve()


def _check_free(port: int) -> None:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # as the server does
        try:
            probe.bind(("127.0.0.1", port))
        except OSError as error:
            raise typer.BadParameter(f"port {port} is taken: give another one with --port") from error
