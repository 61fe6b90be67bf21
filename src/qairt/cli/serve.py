"""`qairt tui --serve`: the screen in a browser on this machine, read-only."""

from __future__ import annotations

import html
import re
import shlex
import socket
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import typer

from qairt.child_process import python_command
from qairt.cli.console import emit
from qairt.errors import ToolchainNotAvailable

if TYPE_CHECKING:
    from aiohttp import web
    from aiohttp.typedefs import Handler

_HOST = "localhost"
_EXTERNAL_LINK = re.compile(r'<link[^>]*href="https?://(?!localhost)[^>]*>')
_BODY = re.compile(r"<body[^>]*>")
_FOCUS_TERMINAL = """<script>
const wait = setInterval(() => {
  const keys = document.querySelector(".xterm-helper-textarea");
  if (keys && document.body.classList.contains("-first-byte")) { clearInterval(wait); keys.focus(); }
}, 50);
</script>"""
"""Focuses the terminal without a click; until then Textual shows no footer."""


def serve_in_browser(recipe: Path, overrides: Sequence[str], cache_dir: Path | None, port: int) -> None:
    """Serve until interrupted. Only this machine can connect, and nothing can be started, cancelled or cleared.

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
    _require_free(port)
    hosts = {f"{name}:{port}" for name in (_HOST, "127.0.0.1", "[::1]")}
    origins = {None, *(f"http://{host}" for host in hosts)}  # only pages have an origin

    @web.middleware
    async def same_origin(request: web.Request, handler: Handler) -> web.StreamResponse:
        """Reject pages of other origins, also where their name leads here, and load nothing from them."""
        if request.headers.get("Host") not in hosts or request.headers.get("Origin") not in origins:
            raise web.HTTPForbidden
        response = await handler(request)
        assert isinstance(response, web.StreamResponse)
        if request.path == "/" and isinstance(response, web.Response) and response.text:
            response.text = _page(response.text, title)
        return response

    class QuietServer(Server):
        """Logs neither its start nor its requests."""

        def initialize_logging(self) -> None:
            pass

        async def on_startup(self, app: web.Application) -> None:
            pass

        async def _make_app(self) -> web.Application:
            app: web.Application = await super()._make_app()
            app.middlewares.append(same_origin)
            return app

    title = f"qairt {recipe.name}"
    command = python_command("-m", "qairt", "tui", str(recipe), *overrides, "--readonly")
    command += ["--cache-dir", str(cache_dir)] if cache_dir else []
    emit(f"http://{_HOST}:{port}   (Ctrl-C ends it; from another machine: ssh -L {port}:{_HOST}:{port} HOST)")
    QuietServer(shlex.join(command), host=_HOST, port=port, title=title).serve()


def _page(served: str, title: str) -> str:
    """textual-serve's page for this machine alone, with the title, language and landmark that screen readers need."""
    page = _EXTERNAL_LINK.sub("", served).replace("<html", '<html lang="en"', 1)
    page = page.replace("<head>", f"<head><title>{html.escape(title)}</title>", 1)
    page = _BODY.sub(r"\g<0><main>", page)
    return page.replace("</body>", f"</main>{_FOCUS_TERMINAL}</body>")


def _require_free(port: int) -> None:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # as the server does
        try:
            probe.bind(("127.0.0.1", port))
        except OSError as error:
            raise typer.BadParameter(f"port {port} is taken: choose another with --port") from error
