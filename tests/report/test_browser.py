"""The report in a real browser: nothing fetched, nothing wrong, readable on a phone, in the dark and aloud."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from sample_report import broken_report, full_report

from qairt.report.render import to_html

browser = pytest.importorskip("browser", reason="aiohttp is not installed")
pytestmark = pytest.mark.skipif(browser.CHROMIUM is None, reason="no chromium is installed")

CONTRAST = """
(() => {
  const rgba = text => { const n = text.match(/[\\d.]+/g).map(Number); return n.length < 4 ? [...n, 1] : n; };
  const linear = v => v <= .04045 ? v / 12.92 : ((v + .055) / 1.055) ** 2.4;
  const light = ([r, g, b]) => [r, g, b].map(v => linear(v / 255))
    .reduce((sum, v, i) => sum + v * [.2126, .7152, .0722][i], 0);
  const ratio = (a, b) => { const [x, y] = [light(a), light(b)].sort((p, q) => q - p); return (x + .05) / (y + .05); };
  const behind = node => { for (let at = node; at; at = at.parentElement) {
    const found = rgba(getComputedStyle(at).backgroundColor);
    if (found[3] > 0) return found;
  } return [255, 255, 255, 1]; };
  const low = [];
  const walk = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
  while (walk.nextNode()) {
    const node = walk.currentNode.parentElement;
    if (!walk.currentNode.textContent.trim() || !node.getClientRects().length) continue;
    const found = ratio(rgba(getComputedStyle(node).color), behind(node));
    if (found < 4.5) low.push([walk.currentNode.textContent.trim().slice(0, 40), found]);
  }
  for (const node of document.querySelectorAll('svg .piece, svg .line')) {
    const style = getComputedStyle(node), ink = style.fill === 'none' ? style.stroke : style.fill;
    const found = ratio(rgba(ink), behind(node.closest('svg')));
    if (found < 3) low.push([node.getAttribute('class'), found]);
  }
  return low;
})()
"""
ALOUD = """
(() => {
  const wrong = [];
  const all = (query, test, why) => document.querySelectorAll(query).forEach(
    node => test(node) || wrong.push(why + ': ' + node.outerHTML.slice(0, 120)));
  all('table', node => node.caption && node.caption.textContent.trim(), 'no caption');
  all('th', node => node.scope, 'no scope');
  all('tbody', node => node.querySelector('th'), 'no row header');
  all('svg', node => node.getAttribute('role') === 'img' && node.getAttribute('aria-label'), 'no words');
  all('a', node => node.textContent.trim() && node.getAttribute('href'), 'no name');
  all('section', node => document.getElementById(node.getAttribute('aria-labelledby')), 'no label');
  all('[aria-labelledby]', node => document.getElementById(node.getAttribute('aria-labelledby')), 'label is gone');
  all('.scroll', node => node.tabIndex === 0 && node.getAttribute('role') === 'region', 'cannot be scrolled by key');
  let before = 0;
  document.querySelectorAll('h1, h2, h3, h4').forEach(node => {
    const level = Number(node.tagName[1]);
    if (level > before + 1) wrong.push('heading skipped: ' + node.textContent);
    before = level;
  });
  if (document.querySelectorAll('h1').length !== 1) wrong.push('not one h1');
  if (document.querySelectorAll('main').length !== 1) wrong.push('not one main');
  if (!document.documentElement.lang || !document.title) wrong.push('no language or title');
  const ids = [...document.querySelectorAll('[id]')].map(node => node.id);
  if (new Set(ids).size !== ids.length) wrong.push('an id twice');
  return wrong;
})()
"""


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("report")
    found = {}
    for name, report in (("full", full_report()), ("broken", broken_report())):
        found[name] = folder / f"{name}.html"
        found[name].write_text(to_html(report, Path("/cache")))
    return found


@asynccontextmanager
async def shown(file: Path, profile: Path, *, width: int = 1280, dark: bool = False) -> AsyncIterator[Any]:
    """The file in a window of that width, loaded."""
    async with browser.page("about:blank", profile) as page:
        for domain in ("Log", "Runtime", "Network"):
            await page.call(f"{domain}.enable")
        size = {"width": width, "height": 800, "deviceScaleFactor": 1, "mobile": width < 500}
        await page.call("Emulation.setDeviceMetricsOverride", **size)
        scheme = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
        await page.call("Emulation.setEmulatedMedia", features=[scheme])
        await page.call("Page.navigate", url=file.as_uri())
        await page.until_loaded(file.as_uri())
        yield page


@pytest.mark.parametrize("name", ["full", "broken"])
async def test_on_a_phone_nothing_is_fetched_wrong_or_cut_off(files, name, tmp_path):
    async with shown(files[name], tmp_path, width=360) as page:
        widths = await page.value("[document.documentElement.scrollWidth, innerWidth]")
        assert widths == [360, 360]
        assert await page.value(ALOUD) == []
        assert await page.value(CONTRAST) == []
        said = [event for event in page.events if event["method"] in ("Log.entryAdded", "Runtime.exceptionThrown")]
        assert said == []
        asked = [e["params"]["request"]["url"] for e in page.events if e["method"] == "Network.requestWillBeSent"]
        assert [url for url in asked if not url.startswith(("data:", files[name].as_uri()))] == []
        # What is wider than the page scrolls within itself, and text is large enough to read.
        assert await page.value(
            "Math.min(...[...document.querySelectorAll('td,th,p,dd')]"
            ".map(node => parseFloat(getComputedStyle(node).fontSize))) >= 12"
        )


@pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])
async def test_on_a_desk_everything_can_be_read(files, dark, tmp_path):
    async with shown(files["full"], tmp_path, dark=dark) as page:
        background = await page.value("getComputedStyle(document.body).backgroundColor")
        assert background == ("rgb(20, 24, 29)" if dark else "rgb(255, 255, 255)")
        assert await page.value(CONTRAST) == []
        assert await page.value("document.documentElement.scrollWidth <= innerWidth")
        assert await page.value("document.querySelectorAll('svg.curve').length") == 3
        assert await page.value(
            "[...document.querySelectorAll('svg')].every(node => node.getBoundingClientRect().width > 40)"
        )


async def test_in_print_nothing_is_left_out(files, tmp_path):
    async with shown(files["full"], tmp_path, width=794) as page:
        await page.call("Emulation.setEmulatedMedia", media="print")
        hidden = (
            "[...document.querySelectorAll('td, th')].filter(node => getComputedStyle(node).display === 'none').length"
        )
        assert await page.value(hidden) == 0
        assert await page.value("getComputedStyle(document.querySelector('nav')).display") == "none"
        printed = await page.call("Page.printToPDF", printBackground=True)
        assert len(printed["data"]) > 20_000
