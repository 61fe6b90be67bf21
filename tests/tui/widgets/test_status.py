"""The monitor's first line: what goes first when there is no room for all of it."""

from __future__ import annotations

import pytest
from textual.app import App, ComposeResult

from qairt.engine.record.state import RunState
from qairt.tui.terminal.glyphs import Look
from qairt.tui.themes import VARIABLE_DEFAULTS
from qairt.tui.widgets.status import StatusLine

RUN = RunState(run_id="0001", status="failed", host="box", pid=41)
START = " qairt  toy.yaml  run 0001 × failed 00:00:00 "


class Host(App[None]):
    def __init__(self) -> None:
        super().__init__()
        self.status = StatusLine(Look())

    def get_theme_variable_defaults(self) -> dict[str, str]:
        return VARIABLE_DEFAULTS

    def compose(self) -> ComposeResult:
        yield self.status


@pytest.mark.parametrize(
    ("width", "rest"),
    [
        (100, " in this program  host box  pid 41   1 failed: fan ar2 "),
        (99, " in this program  host box  pid 41  1 failed: fan ar2 "),
        (98, " in this program                   1 failed: fan ar2 "),
        (81, " in this program  1 failed: fan ar2 "),
        (80, "                 1 failed: fan ar2 "),
        (60, "  1 failed: f… "),
    ],
)
async def test_a_remark_stays_before_connection_and_process(width: int, rest: str) -> None:
    app = Host()
    async with app.run_test(size=(width, 5)) as pilot:
        app.status.show("toy.yaml", RUN, 0.0, connection="in this program", remark="1 failed: fan ar2")
        await pilot.pause()
        assert app.status.line == START + rest
        app.status.show("toy.yaml", RUN, 0.0, connection="in this program", remark="")
        assert app.status.line.startswith(START)
        assert ("in this program" in app.status.line) == (width > 60)


@pytest.mark.parametrize("remark", ["", "1 failed: fan ar2"])
async def test_a_long_name_hides_neither_status_nor_remark(remark: str) -> None:
    app = Host()
    async with app.run_test(size=(80, 5)) as pilot:
        app.status.show("llama-3.2-1b-instruct-" * 5, RUN, 0.0, connection="in this program", remark=remark)
        await pilot.pause()
        assert app.status.line.startswith(" qairt  llama-3.2-")
        assert "…  run 0001 × failed 00:00:00 " in app.status.line
        assert remark in app.status.line
        assert len(app.status.line) <= 80
