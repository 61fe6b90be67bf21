"""`qairt tui --serve`: the screen in a real browser, on this machine only, for looking only."""

from __future__ import annotations

import socket
import subprocess
import sys
import urllib.request
from html.parser import HTMLParser

import psutil
import pytest
from served_screen import served_screen
from tiny_recipe import write_recipe

pytest.importorskip("textual_serve", reason="textual-serve is not installed")

import browser


@pytest.fixture
def served(tmp_path):
    with served_screen(tmp_path) as screen:
        yield screen


def test_only_this_machine_can_connect(served):
    port, process, said = served
    listening = [each for each in psutil.Process(process.pid).net_connections() if each.status == psutil.CONN_LISTEN]
    assert {each.laddr.port for each in listening} == {port}
    assert {each.laddr.ip for each in listening} <= {"127.0.0.1", "::1"}
    assert f"http://localhost:{port}" in said.read_text()


class Outline(HTMLParser):
    """What a screen reader goes by: the language, the title, and every text or control outside the main landmark."""

    EMPTY = ("link", "meta", "path")

    def __init__(self, page: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.language: str | None = None
        self.title = ""
        self.mains = 0
        self.outside: list[str] = []
        self.feed(page)

    def handle_starttag(self, tag, attributes):
        self.language = dict(attributes).get("lang") if tag == "html" else self.language
        self.mains += tag == "main"
        if tag not in self.EMPTY:
            self.open.append(tag)
        if tag in ("button", "div") and "main" not in self.open:
            self.outside.append(tag)

    def handle_endtag(self, tag):
        if tag not in self.EMPTY:
            assert self.open.pop() == tag

    def handle_data(self, data):
        if self.open[-1:] == ["title"]:
            self.title += data
        elif data.strip() and not {"main", "script", "style"} & set(self.open):
            self.outside.append(data.strip())


def test_the_page_has_a_language_a_title_and_a_main_landmark(served):
    """axe's rules html-has-lang, document-title and region, which need no browser to be checked."""
    port, _, _ = served
    with urllib.request.urlopen(f"http://localhost:{port}/") as response:
        page = response.read().decode()
    outline = Outline(page)
    assert (outline.language, outline.title, outline.mains) == ("en", "qairt recipe.yaml", 1)
    assert outline.outside == []
    assert "fonts.googleapis.com" not in page


@pytest.mark.skipif(browser.CHROMIUM is None, reason="no chromium is installed")
async def test_a_browser_shows_the_plan_and_starts_nothing(served, tmp_path):
    port, _, said = served
    async with browser.page(f"http://localhost:{port}/", tmp_path / "profile") as page:
        shown = await page.until_shown("? Help")
        assert "plan  recipe.yaml" in shown
        assert "31 new" in shown
        assert "generate_context_binary" in shown
        assert await page.value("[...document.querySelectorAll('link')].every(each => each.href.includes('localhost'))")
        await page.press("?")
        assert "Show why the selected items will run." in await page.until_shown("Show why")
        await page.press("q")
        assert "plan  recipe.yaml" in await page.until_shown("model_loading all: not built yet")
        await page.press("\r")
        await page.press("?")
        await page.until_shown("Show why")
    assert not (tmp_path / "cache" / "pipeline_state" / "runs").exists()
    assert "Traceback" not in said.read_text()


@pytest.mark.parametrize(
    ("host", "origin", "status"),
    [
        ("localhost:{port}", "https://elsewhere.example", 403),
        ("localhost:{port}", "http://localhost:1", 403),
        ("localhost:{port}", "null", 403),
        ("elsewhere.example:{port}", "http://elsewhere.example:{port}", 403),  # a name that was made to lead here
        ("elsewhere.example:{port}", None, 403),
        ("elsewhere.example", None, 403),
        ("localhost:{port}", "http://localhost:{port}", 101),
        ("127.0.0.1:{port}", "http://127.0.0.1:{port}", 101),
    ],
)
def test_another_page_cannot_connect(served, host, origin, status):
    """A web page that the user has open elsewhere must not see the screen through his browser."""
    port, _, _ = served
    stated = f"Origin: {origin.format(port=port)}\r\n" if origin else ""
    for path in ("/ws", "/") if status == 403 else ("/ws",):
        request = (
            f"GET {path} HTTP/1.1\r\nHost: {host.format(port=port)}\r\n{stated}Upgrade: websocket\r\n"
            "Connection: Upgrade\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n\r\n"
        )
        with socket.create_connection(("127.0.0.1", port), timeout=10) as client:
            client.sendall(request.encode())
            assert client.recv(64).startswith(f"HTTP/1.1 {status}".encode())


def test_a_taken_port_is_said(tmp_path):
    write_recipe(tmp_path / "recipe")
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = str(taken.getsockname()[1])
        words = ["tui", "recipe/recipe.yaml", "--serve", "--port", port]
        ended = subprocess.run([sys.executable, "-m", "qairt", *words], cwd=tmp_path, capture_output=True, timeout=60)
    assert ended.returncode == 2
    assert f"port {port} is taken".encode() in ended.stderr
    assert b"Traceback" not in ended.stderr
