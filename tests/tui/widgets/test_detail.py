"""Pane 5: its lines by state, and the widget around them."""

from __future__ import annotations

from pathlib import Path

import toy_stages as toy
from textual.app import App, ComposeResult
from textual.content import Content

from qairt.engine.pipeline import Pipeline
from qairt.engine.record import events as ev
from qairt.engine.record.item_state import ItemState
from qairt.engine.record.state import RunState
from qairt.engine.run.options import RunOptions
from qairt.tui.lines.detail import detail_lines
from qairt.tui.terminal.glyphs import Look
from qairt.tui.themes import VARIABLE_DEFAULTS
from qairt.tui.widgets.detail import Detail


def told(item: ItemState, run: RunState | None = None, look: Look | None = None) -> list[str]:
    return [line.plain for line in detail_lines(item, None, None, run or RunState(), look or Look())]


FAILED = ItemState(
    "[red]odd[/]",
    "ar1",
    status="failed",
    log="/runs/0001/logs/odd.ar1.log",
    attempt=2,
    error={
        "what": "this node is not [b]supported",
        "where": "node_7",
        "remedy": "leave it out",
        "log_tail": [f"line {n}\x1b[31m" for n in range(20)],
    },
)


def test_a_running_item() -> None:
    item = ItemState(
        "fan", "ar1", status="running", started=100.0, fraction=0.42, expected_seconds=60.0, expected_low=50.0,
        expected_high=80.0, samples=3, expected_ram=2_000_000_000, reason="fan.suffix a → b", log="/l/fan.ar1.log",
        key="ab" * 32, sources=("source all",), message="half way",
    )  # fmt: skip
    assert told(item, RunState(now=112.0)) == [
        "fan ar1",
        "state    ▶ running 42%",
        "half way",
        "elapsed  12.0 s",
        "expected ~1m00 (50s-1m20), 2.00 GB of memory; from 3 earlier runs",
        "log      /l/fan.ar1.log",
        "why      fan.suffix a → b",
        f"key      {'ab' * 32}",
        "from     source all",
    ]


def test_what_a_running_item_has_used_so_far() -> None:
    run = RunState()
    run.apply(ev.ItemStarted(time=100.0, stage="fan", label="ar1", key="", reason="", log="", threads=1))
    run.apply(ev.ItemUsage(time=103.0, stage="fan", label="ar1", peak_rss=1_200_000_000, cpu_seconds=3.0))
    assert "memory   1.20 GB at its peak so far" in told(run.items["fan", "ar1"], run)
    run.apply(ev.ItemStarted(time=200.0, stage="fan", label="ar1", key="", reason="", log="", threads=1))
    assert "memory" not in "".join(told(run.items["fan", "ar1"], run)), "it began anew"


def test_what_a_waiting_item_waits_for() -> None:
    source = ItemState("source", "all", status="running")
    item = ItemState("fan", "ar1", status="waiting", sources=("source all",), expected_seconds=2.0)
    run = RunState(items={("source", "all"): source, ("fan", "ar1"): item})
    lines = told(item, run)
    assert "waiting  waits for source all" in lines
    assert "expected ~2.0s; estimated" in lines


def test_a_failed_item_says_what_where_remedy_and_its_last_lines() -> None:
    lines = told(FAILED)
    assert lines[:2] == ["[red]odd[/] ar1", "state    × failed"]
    at = lines.index("what     this node is not [b]supported")
    assert lines[at + 1 : at + 4] == ["where    node_7", "remedy   leave it out", "last lines of the log:"]
    assert lines[at + 4] == "  line 8[31m"
    assert lines[-1] == "  line 19[31m"
    assert "attempt  2" in lines


def test_an_error_without_words() -> None:
    assert "what     no reason was given" in told(ItemState("fan", "ar1", status="failed", error={}))


def test_ascii() -> None:
    assert all(line.isascii() for line in told(FAILED, look=Look(ascii=True)))


def test_a_made_item_shows_its_manifest_entry(tmp_path: Path) -> None:
    made = Pipeline([toy.Source(), toy.Fan()], tmp_path)
    made.construct(RunOptions(jobs=1, executor="inline"))
    planned = next(item for item in made.plan().items if item.name == "fan ar1")
    assert planned.entry is not None
    item = ItemState("fan", "ar1", status="cached", key=planned.key)
    lines = [line.plain for line in detail_lines(item, planned, planned.entry, RunState(), Look())]
    assert f"artifact {planned.entry.directory}" in lines
    assert f"built    {planned.entry.timestamp[:10]}" in "\n".join(lines)
    assert "  suffix  " in lines
    assert "2 files:" in lines
    digest = planned.entry.files["text.txt"]["sha256"][:12]
    assert next(line.split() for line in lines if "text.txt" in line) == ["text.txt", "7", "B", "sha256", digest]


class Host(App[None]):
    def __init__(self) -> None:
        super().__init__()
        self.detail = Detail()

    def get_theme_variable_defaults(self) -> dict[str, str]:
        return VARIABLE_DEFAULTS

    def compose(self) -> ComposeResult:
        yield self.detail

    def text(self) -> str:
        return "\n".join("".join(s.text for s in strip).rstrip() for strip in self.screen._compositor.render_strips())


async def test_it_is_painted_only_when_it_changes_and_scrolls(monkeypatch) -> None:
    app = Host()
    async with app.run_test(size=(30, 8)) as pilot:
        updates: list[Content] = []
        update = app.detail._text.update

        def counted(content: Content, *, layout: bool) -> None:
            updates.append(content)
            update(content, layout=layout)

        monkeypatch.setattr(app.detail._text, "update", counted)
        app.detail.show(FAILED, None, None, RunState())
        app.detail.show(FAILED, None, None, RunState())
        assert len(updates) == 1
        await pilot.pause()
        assert "[red]odd[/] ar1" in app.text()
        app.detail.focus()
        await pilot.press("G")
        await pilot.pause()
        assert "line 19" in app.text()
        await pilot.press("g", "j", "j", "k")
        await pilot.pause()
        assert app.detail.scroll_y == 1
        app.detail.show(ItemState("fan", "ar1"), None, None, RunState())
        await pilot.pause()
        assert app.detail.scroll_y == 0
        assert app.detail.copy_text.startswith("fan ar1\nstate    · waiting")
        app.detail.look = Look(ascii=True)
        assert app.detail.copy_text.isascii()
