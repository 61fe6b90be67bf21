"""What a browser shows of ours, judged by axe as a browser's accessibility tools judge it."""

from __future__ import annotations

import zipfile
from pathlib import Path

import browser
import pytest
from client_environment import wheel
from sample_report import full_report
from served_screen import served_screen

from qairt.report.render import to_html

pytestmark = [
    pytest.mark.clients,
    pytest.mark.skipif(browser.CHROMIUM is None, reason="no chromium is installed"),
]

VIOLATIONS = """
axe.run().then(found => found.violations.map(each => [each.id, ...each.nodes.map(node => node.html.slice(0, 120))]))
"""


@pytest.fixture(scope="module")
def axe() -> str:
    with zipfile.ZipFile(wheel("axe-playwright-python==0.1.8")) as files:
        return files.read("axe_playwright_python/axe.min.js").decode()


async def violations(page: browser.Page, axe: str) -> list[list[str]]:
    await page.call("Runtime.evaluate", expression=axe)
    found = await page.call("Runtime.evaluate", expression=VIOLATIONS, awaitPromise=True, returnByValue=True)
    return found["result"]["value"]


async def test_the_served_screen(axe, tmp_path):
    with served_screen(tmp_path) as (port, _, _):
        async with browser.page(f"http://localhost:{port}/", tmp_path / "profile") as page:
            await page.until_shown("? Help")
            assert await violations(page, axe) == []


async def test_the_report(axe, tmp_path):
    (tmp_path / "report.html").write_text(to_html(full_report(), Path("/cache")))
    address = (tmp_path / "report.html").as_uri()
    async with browser.page(address, tmp_path / "profile") as page:
        await page.until_loaded(address)
        assert await violations(page, axe) == []
