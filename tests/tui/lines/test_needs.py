"""What an item needs, and what needs it."""

from __future__ import annotations

from qairt.engine.record import events as ev
from qairt.engine.record.state import RunState
from qairt.tui.lines.needs import needs_lines
from qairt.tui.terminal.glyphs import Look


def entry(stage: str, label: str, *sources: str) -> ev.PlannedEntry:
    return ev.PlannedEntry(
        stage=stage, label=label, key="k", cached=False, reason="", seconds=1, from_history=True, sources=sources
    )


def a_run() -> RunState:
    return RunState.of_plan(
        [
            entry("load", "all"),
            entry("convert", "ar1", "load all"),
            entry("convert", "ar128", "load all"),
            entry("compile", "all", "convert ar1", "convert ar128"),
            entry("bundle", "all", "compile all", "load all"),
        ]
    )


def told(run: RunState, stage: str, label: str) -> list[str]:
    return [line.text.plain for line in needs_lines(run, run.items[stage, label], Look())]


def test_each_item_once_the_nearest_first() -> None:
    run = a_run()
    run.items["load", "all"].status = "cached"
    assert told(run, "compile", "all") == [
        "needs",
        "  · convert ar1  waiting",
        "  · convert ar128  waiting",
        "    ≡ load all  cached",
        "",
        "  · compile all  waiting",
        "",
        "is needed by",
        "  · bundle all  waiting",
    ]


def test_the_ends() -> None:
    assert "  nothing: it comes first" in told(a_run(), "load", "all")
    assert "  nothing: it comes last" in told(a_run(), "bundle", "all")
    assert [line for line in told(a_run(), "load", "all") if "bundle" in line] == ["  · bundle all  waiting"]


def test_lines_are_items_or_titles() -> None:
    run = a_run()
    keys = [line.key for line in needs_lines(run, run.items["convert", "ar1"], Look(ascii=True))]
    assert keys == [None, ("load", "all"), None, ("convert", "ar1"), None, None, ("compile", "all"), ("bundle", "all")]
