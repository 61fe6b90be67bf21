"""Two runs side by side: the lines, the Markdown, the keys."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import recorded_runs as recorded
from textual.app import App
from textual.pilot import Pilot

from qairt.engine.record.folder import RunFolder
from qairt.engine.record.runs import RunComparison, compare
from qairt.engine.record.summary import read_state, write_summary
from qairt.tui.lines.compare import compare_lines, compare_markdown
from qairt.tui.screens.compare import ComparePane, CompareScreen
from qairt.tui.terminal.glyphs import Look
from qairt.tui.themes import VARIABLE_DEFAULTS

A = "backend: HTP\nstages:\n  convert: {num_splits: 2}\n  quantize: {act_bits: 16}\n"
B = 'backend: HTP\nstages:\n  convert: {num_splits: 4}\n  quantize: {act_bits: 16, note: "[b]x|y\\e[31m"}\n'


def measured(folder: RunFolder, metrics: str) -> RunFolder:
    (folder.path.parents[1] / "metrics.json").write_text(metrics)
    write_summary(folder, read_state(folder))
    return folder


@pytest.fixture
def pair(tmp_path: Path) -> tuple[RunFolder, RunFolder]:
    reused = ("convert ar1-split1", "convert ar1-split2")
    return (
        measured(recorded.record(tmp_path, "0139", recorded.good(), recipe=A), '{"quantize": {"ppl": 6.27}}'),
        measured(
            recorded.record(tmp_path, "0141", recorded.good(seconds=15.0, cached=reused), recipe=B),
            '{"quantize": {"ppl": 6.31, "sqnr_db": 24.1}}',
        ),
    )


@pytest.fixture
def comparison(pair) -> RunComparison:
    return compare(*pair)


def shown(comparison: RunComparison, **options: Any) -> list[list[str]]:
    """Cells of each line; cells are two columns apart."""
    lines = compare_lines(comparison, Look(), **{"width": 100} | options)
    return [[cell.strip() for cell in line.text.split("  ") if cell.strip()] for line in lines]


def test_what_changed(comparison):
    assert shown(comparison) == [
        ["Recipe", "0139", "0141", "difference"],
        ["stages.convert.num_splits", "2", "4"],
        ["stages.quantize.note", "-", "[b]x|y [31m"],
        ["Time", "0139", "0141", "difference"],
        ["all", "40.0 s", "30.0 s", "-10.0 s"],
        ["convert", "20.0 s", "cached"],
        ["quantize", "20.0 s", "30.0 s", "+10.0 s"],
        ["Memory", "0139", "0141", "difference"],
        ["convert", "2.00 GB", "cached"],
        ["Results", "0139", "0141", "difference"],
        ["all", "20 kB", "12 kB", "-8 kB"],
        ["convert", "10 kB", "2 kB", "-8 kB"],
        ["Reused", "0139", "0141", "difference"],
        ["convert", "0 of 2", "2 of 2"],
        ["Quality", "0139", "0141", "difference"],
        ["perplexity", "6.27", "6.31", "+0.04"],
        ["SQNR, dB", "-", "24.1"],
    ]


def test_everything(comparison):
    every = shown(comparison, every=True)
    assert ["backend", "HTP", "HTP"] in every
    assert ["state", "done", "done"] in every
    roles = {line.role for line in compare_lines(comparison, Look(), width=100, every=True)}
    assert roles == {"title", "changed", "equal"}


def test_a_run_and_itself(pair):
    assert shown(compare(pair[0], pair[0])) == [["The runs do not differ."]]


def test_recipes_that_cannot_be_read(pair):
    (pair[0].path / "recipe.yaml").unlink()
    first, second, *_ = compare_lines(compare(*pair), Look(), width=100)
    assert (first.role, first.text) == (
        "note", "the recipe of run 0139 cannot be read: No such file or directory"
    )  # fmt: skip
    assert second.text.split()[0] == "Time"


@pytest.mark.parametrize("width", [18, 40, 78, 198])
def test_the_lines_fit(comparison, width):
    for look in (Look(), Look(ascii=True)):
        lines = compare_lines(comparison, look, width=width, every=True)
        assert all(len(line.text) <= width for line in lines)
        assert not look.ascii or all(line.text.isascii() for line in lines)


def test_markdown(comparison):
    text = compare_markdown(comparison)
    assert text.startswith("# Runs 0139 and 0141\n\n## Recipe\n\n|  | 0139 | 0141 | difference |\n| --- |")
    assert "| stages.quantize.note | - | [b]x\\|y [31m |  |\n" in text
    assert "backend" not in text
    assert "| backend | HTP | HTP |  |" in compare_markdown(comparison, every=True)


# The screen


class Host(App[None]):
    def __init__(self, pair: tuple[RunFolder, RunFolder], look: Look) -> None:
        super().__init__()
        self._screen = CompareScreen(*pair, look)

    def get_theme_variable_defaults(self) -> dict[str, str]:
        return VARIABLE_DEFAULTS

    def on_mount(self) -> None:
        self.push_screen(self._screen)


def picture(app: App[Any]) -> list[str]:
    strips = app.screen._compositor.render_strips()
    return ["".join(segment.text for segment in strip).rstrip() for strip in strips]


async def ready(pilot: Pilot[None]) -> None:
    for _ in range(200):
        await pilot.pause(0.01)
        if "reading" not in picture(pilot.app)[0]:
            break
    await pilot.pause()


async def test_the_screen(pair):
    app = Host(pair, Look())
    async with app.run_test(size=(80, 24)) as pilot:
        await ready(pilot)
        assert picture(app)[0] == " compare 0139 and 0141 · differences; A shows all"
        assert picture(app)[1].split() == ["Recipe", "0139", "0141", "difference"]
        assert picture(app)[-1].split() == ["A", "All", "y", "Copy", "esc", "Back"]
        await pilot.press("A")
        await pilot.pause()
        assert picture(app)[0] == " compare 0139 and 0141 · all values"
        assert picture(app)[1].split()[0] == "Run"
        await pilot.press("A")
        await pilot.pause()
        assert picture(app)[1].split()[0] == "Recipe"
        await pilot.press("escape")
        await pilot.pause()
        assert not isinstance(app.screen, CompareScreen)


async def test_copy(pair, tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    app = Host(pair, Look())
    async with app.run_test(size=(80, 24)) as pilot:
        await ready(pilot)
        await pilot.press("y")
        await pilot.pause()
        assert app.clipboard == compare_markdown(compare(*pair))
        await pilot.press("A", "y")
        await pilot.pause()
        assert app.clipboard == compare_markdown(compare(*pair), every=True)


async def test_moving(pair):
    app = Host(pair, Look(ascii=True))
    async with app.run_test(size=(80, 10)) as pilot:
        await ready(pilot)
        pane = app.screen.query_one(ComparePane)
        at = []
        for key in ("j", "j", "k", "G", "g", "pagedown", "ctrl+u"):
            await pilot.press(key)
            await pilot.pause()
            at.append(pane.scroll_offset.y)
        assert at == [1, 2, 1, pane.max_scroll_y, 0, pane.container_size.height, 0]
        assert "".join(picture(app)[:-1]).isascii()


@pytest.mark.parametrize("size", [(20, 5), (250, 70)])
async def test_any_size(pair, size):
    app = Host(pair, Look())
    async with app.run_test(size=size) as pilot:
        await ready(pilot)
        await pilot.resize_terminal(80, 24)
        await pilot.pause(0.2)
        assert "num_splits" in picture(app)[2]


@pytest.mark.parametrize("ascii", [False, True])
def test_long_values_that_differ_only_at_the_end_are_told_apart(tmp_path: Path, ascii: bool):
    folder = "/home/ada/models/checkpoints/of/the/whole/year/and/some/more/of/them/for/good/measure"
    recipes = [f"backend: HTP\nmodel_id_or_path: {folder}/{name}\n" for name in ("first.gguf", "second.gguf")]
    pair = [recorded.record(tmp_path, f"000{n}", recorded.good(), recipe=text) for n, text in enumerate(recipes, 1)]
    for run in pair:
        write_summary(run, read_state(run))
    lines = compare_lines(compare(*pair), Look(ascii=ascii), width=78)
    (row,) = [line.text for line in lines if "model_id_or_path" in line.text]
    assert len(row) <= 78
    assert "/first." in row
    assert "/sec" in row
