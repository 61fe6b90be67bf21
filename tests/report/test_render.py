"""The report as HTML and Markdown: whole, self-contained, and safe with text from anywhere."""

from __future__ import annotations

import re
from html.parser import HTMLParser
from pathlib import Path

import pytest
from sample_report import AWKWARD, broken_report, full_report

from qairt.report.render import to_html, to_markdown

VOID = {"meta", "link", "br", "wbr", "hr", "img"}


class Structure(HTMLParser):
    """Tags that are opened and closed, and what may not be in a page that stands alone."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.tags: list[str] = []
        self.addresses: list[str] = []

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        self.addresses += [value for name, value in attrs if name in ("src", "href", "data", "action")]
        assert not [name for name, _ in attrs if name.startswith("on")]
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.tags.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag


def parsed(html: str) -> Structure:
    structure = Structure()
    structure.feed(html)
    assert structure.open == []
    return structure


@pytest.mark.parametrize("report", [full_report(), broken_report()], ids=["full", "broken"])
def test_html_is_self_contained(report):
    html = to_html(report, Path("/cache"))
    structure = parsed(html)
    assert "script" not in structure.tags
    assert all(address.startswith(("#", "data:,")) for address in structure.addresses)
    assert "url(" not in html
    assert "@import" not in html
    assert "alert(1)" in html
    assert "<script" not in html


def test_every_section_shows_its_numbers():
    html = to_html(full_report(), Path("/cache"))
    for said in (
        "SmolLM2-135M-Instruct.Q4_1",
        "1 min",
        "47.17",
        "+17.1 % against float",
        "120 MB",
        "from 660 MB in float",
        "÷ 5.5",
        "quantize, part 2",
        "4.2 dB, threshold 6 dB",
        "layer 0",
        "16 of 30",
        "cd" * 32,
        "ab" * 32,
        "onnxruntime-qnn 2.7.0",
        "2023-11-14 22:13 UTC",
        "by run 0003",
        "GPU memory: peak",
        "725 tokens/s",
        "SM8650 at context length 512: a token reads 106 MB",
        "What SM8650 can do at most",
        "Measured on a device: 41.5 tokens/s",
    ):
        assert said in html or said == "1 min", said


def test_bars_are_in_proportion():
    html = to_html(full_report(), Path("/cache"))

    def width(said: str) -> float:
        """Of the bar that says so, in thousandths of its row."""
        return float(
            re.search(f'aria-label="{re.escape(said)}"><rect class="[^"]+" x="0.0" y="0" width="([0-9.]+)"', html)[1]
        )

    assert width("float graph (ONNX): 660 MB") == 1000
    assert width("context binaries: 120 MB") == pytest.approx(1000 * 120 / 660, abs=0.1)
    assert width("float: 40.28") == pytest.approx(1000 * 40.28 / 47.17, abs=0.1)
    assert width("quantized graphs: 0.6937") == pytest.approx(693.7, abs=0.1)  # of 1, which it cannot pass
    assert 'aria-label="quantize: 4.2 dB"><rect class="piece failed"' in html
    assert 'aria-label="export: 116.0 dB"><rect class="piece rung"' in html


def test_links_lead_somewhere():
    for report in (full_report(), broken_report()):
        html = to_html(report, Path("/cache"))
        ids = re.findall(r' id="([^"]+)"', html)
        assert len(ids) == len(set(ids))
        named = re.findall(r'href="#([^"]+)"', html) + re.findall(r'aria-labelledby="([^"]+)"', html)
        assert set(named) <= set(ids)


def test_missing_facts_have_no_section():
    html = to_html(broken_report(), Path("/cache"))
    for section in ("timeline", "sizes", "quality", "fidelity", "speed", "bundle", "outputs", "chip"):
        assert f'id="{section}"' not in html
    assert "What is missing" in html
    assert "<code>qairt run r.yaml</code>" in html
    assert "export all failed" in html
    assert "free the disk" in html


def test_markdown_tables_are_well_formed():
    text = to_markdown(full_report())
    assert "\n\n\n" not in text
    tables = re.findall(r"(?:^\|.*\n)+", text, re.MULTILINE)
    assert len(tables) > 8
    for table in tables:
        widths = {len(re.findall(r"(?<!\\)\|", line)) for line in table.splitlines()}
        assert len(widths) == 1, table
        before = text[: text.index(table)]
        assert before.endswith("\n\n"), table
    assert "<script>" not in text.partition("## Recipe")[0]
    assert "| time to first token | 178.4 (174.5 to 277.6) ms |" in text
    assert "| aten::mm | 770.7 ms | 75% | ████" in text
    assert "### Operators of decode" not in text
    assert "| perplexity | 12 chunks of dev.txt | quantized graphs | 47.17 | +17.1 % |" in text


def test_markdown_of_a_failed_run():
    text = to_markdown(broken_report())
    assert "## export all failed" in text
    assert "    a line of the log" in text
    assert AWKWARD in text  # within an indented block, where it is only text
