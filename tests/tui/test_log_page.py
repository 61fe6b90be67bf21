"""What a page of a log shows: lines that mean nothing are one row."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from qairt.tui.log_file import LogFile
from qairt.tui.widgets.log_page import Page

HARMLESS = (
    "[W:onnxruntime:, qnn_ep.cc:933 QnnEp] File mapped weights feature is only available on Windows arm64 devices"
)
LINES = [
    "writing",
    HARMLESS,
    HARMLESS,
    HARMLESS,
    "compiling",
    HARMLESS,
    "graph 1 of 2",
    "graph 2 of 2",
    HARMLESS,
    HARMLESS,
]
SERIES = {
    1: "(3 lines of the vendor's tools that mean nothing)",
    5: "(1 line of the vendor's tools that means nothing)",
    8: "(2 lines of the vendor's tools that mean nothing)",
}
SHOWN = [(0, "writing"), (1, SERIES[1]), (4, "compiling"), (5, SERIES[5]), (6, LINES[6]), (7, LINES[7]), (8, SERIES[8])]


@pytest.fixture
def file(tmp_path: Path) -> LogFile:
    (tmp_path / "a.log").write_text("\n".join(LINES) + "\n")
    log = LogFile(tmp_path / "a.log")
    log.poll()
    return log


def shown(page: Page, file: LogFile, top: int) -> list[tuple[int, str]]:
    return [(row.line, row.text) for row in page.rows(file, top)]


@pytest.mark.parametrize("wrap", [False, True])
def test_each_series_is_one_row_that_counts_them(file: LogFile, wrap: bool) -> None:
    page = Page(width=60, height=20, wrap=wrap)
    assert shown(page, file, 0) == SHOWN
    assert {row.level for row in page.rows(file, 0) if row.line in SERIES} == {"note"}


@pytest.mark.parametrize("wrap", [False, True])
def test_the_last_page_is_full(file: LogFile, wrap: bool) -> None:
    page = Page(width=60, height=4, wrap=wrap)
    assert shown(page, file, page.last_top(file, file.line_count - 1)) == SHOWN[-4:]


def test_a_search_sees_every_line(file: LogFile) -> None:
    page = Page(width=60, height=20, pattern=re.compile("windows", re.I))
    assert [line for line, _ in shown(page, file, 0)] == list(range(len(LINES)))
