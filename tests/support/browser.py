"""Headless chromium, driven over the DevTools protocol."""

from __future__ import annotations

import base64
import json
import shutil
import subprocess
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import aiohttp
from wait import until_async

CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
_PATIENCE = 30.0
# Without WebGL the terminal in the page is HTML, so its text can be read.
_FLAGS = ("--headless", "--no-sandbox", "--disable-3d-apis", "--hide-scrollbars", "--no-first-run")


class Page:
    """One page of the browser."""

    def __init__(self, socket: aiohttp.ClientWebSocketResponse) -> None:
        self._socket = socket
        self._calls = 0
        self.events: list[dict[str, Any]] = []
        """Events from the browser; `Log.enable` and the like turn them on."""

    async def call(self, method: str, **parameters: Any) -> dict[str, Any]:
        """Call a protocol method; returns its result. Events that arrive meanwhile are kept."""
        self._calls += 1
        await self._socket.send_json({"id": self._calls, "method": method, "params": parameters})
        while True:
            message = await self._socket.receive_json(timeout=_PATIENCE)
            if message.get("id") == self._calls:
                assert "error" not in message, message["error"]
                return message["result"]
            self.events.append(message)

    async def value(self, expression: str) -> Any:
        """The value of a JavaScript expression in the page."""
        answer = await self.call("Runtime.evaluate", expression=expression, returnByValue=True)
        return answer["result"].get("value")

    async def press(self, key: str) -> None:
        """Type a character, or `\r`, into the terminal."""
        code = {"\r": 13}.get(key, 0)
        await self.call("Input.dispatchKeyEvent", type="keyDown", key=key, text=key, windowsVirtualKeyCode=code)
        await self.call("Input.dispatchKeyEvent", type="keyUp", key=key, windowsVirtualKeyCode=code)

    async def picture(self, path: Path) -> None:
        answer = await self.call("Page.captureScreenshot", format="png")
        path.write_bytes(base64.b64decode(answer["data"]))

    async def until_loaded(self, url: str) -> None:
        """Wait until the page at `url` has loaded completely."""
        loaded = f"document.readyState === 'complete' && location.href === {json.dumps(url)}"
        await until_async(lambda: self.value(loaded), _PATIENCE, describe=lambda: f"{url} did not load")

    async def terminal(self) -> str:
        """The text of the terminal in the page."""
        rows = "[...document.querySelectorAll('.xterm-rows > div')].map(row => row.textContent).join('\\n')"
        return str(await self.value(rows) or "").replace("\xa0", " ")

    async def until_shown(self, text: str) -> str:
        """Wait until the terminal shows `text`; returns everything it shows."""
        shown = ""

        async def is_shown() -> bool:
            nonlocal shown
            shown = await self.terminal()
            return text in shown

        await until_async(is_shown, _PATIENCE, every=0.2, describe=lambda: f"{text!r} is not shown: {shown}")
        return shown


@asynccontextmanager
async def page(url: str, profile: Path, size: tuple[int, int] = (1100, 700)) -> AsyncIterator[Page]:
    """The page at `url` in a browser that ends with the block."""
    assert CHROMIUM is not None
    flags = [*_FLAGS, f"--user-data-dir={profile}", "--remote-debugging-port=0", f"--window-size={size[0]},{size[1]}"]
    process = subprocess.Popen([CHROMIUM, *flags, "about:blank"], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        address = await _address(profile / "DevToolsActivePort")
        async with aiohttp.ClientSession() as session:
            target = await _target(session, address)
            async with session.ws_connect(target, max_msg_size=0) as socket:
                opened = Page(socket)
                await opened.call("Emulation.setFocusEmulationEnabled", enabled=True)  # as if the window had the focus
                await opened.call("Page.navigate", url=url)
                yield opened
    finally:
        process.terminate()
        process.wait(10)


async def _address(file: Path) -> str:
    async def port() -> str:
        return next(iter(file.read_text().splitlines()), "") if file.exists() else ""

    return f"http://127.0.0.1:{await until_async(port, _PATIENCE, describe=lambda: 'the browser did not start')}"


async def _target(session: aiohttp.ClientSession, address: str) -> str:
    async def opened() -> str:
        async with session.get(f"{address}/json/list") as answer:
            pages = [target for target in json.loads(await answer.text()) if target["type"] == "page"]
        return str(pages[0]["webSocketDebuggerUrl"]) if pages else ""

    return str(await until_async(opened, _PATIENCE, describe=lambda: "the page did not open"))
