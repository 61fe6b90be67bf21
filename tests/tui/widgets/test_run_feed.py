"""The run's feed: the newest events at the bottom, as many as fit."""

from __future__ import annotations

from unittest.mock import patch

from textual.app import App, ComposeResult

from qairt.engine.record import events as ev
from qairt.tui.themes import VARIABLE_DEFAULTS
from qairt.tui.widgets.run_feed import RunFeed


class Host(App[None]):
    CSS = "RunFeed { height: 1fr; }"

    def __init__(self) -> None:
        super().__init__()
        self.feed = RunFeed()

    def get_theme_variable_defaults(self) -> dict[str, str]:
        return VARIABLE_DEFAULTS

    def compose(self) -> ComposeResult:
        yield self.feed


def started(number: int) -> ev.Event:
    return ev.ItemStarted(time=number, stage="convert", label=f"split{number}", key="", reason="new", log="", threads=1)


async def test_what_began_ended_and_failed() -> None:
    app = Host()
    async with app.run_test(size=(60, 4)) as pilot:
        await pilot.pause()
        events: list[ev.Event] = [started(number) for number in range(9)]
        failed = ev.ItemFailedEvent(time=9, stage="convert", label="split1", error={"what": "no memory"}, log="")
        app.feed.show([*events, failed], "waiting: it has not run yet")
        assert [line[9:] if line[2] == ":" else line for line in app.feed.lines] == [
            "waiting: it has not run yet",
            "convert split7: started; new",
            "convert split8: started; new",
            "convert split1: FAILED: no memory",
        ]
        assert app.feed.render_line(3).text.endswith("FAILED: no memory".ljust(60 - 25))
        same = [*events, failed]
        app.feed.show(same, "")
        with patch.object(app.feed, "refresh") as refresh:
            app.feed.show(same, "")
            refresh.assert_not_called()
            same.append(started(10))
            app.feed.show(same, "")
            refresh.assert_called_once()
