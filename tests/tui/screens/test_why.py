"""The why screen: what differs, equal rows, moving among items, setting a line of the recipe back."""

from __future__ import annotations

from datetime import datetime
from pathlib import Path

import pytest
import toy_stages as toy
from textual.app import App

from qairt.engine.pipeline import Pipeline
from qairt.engine.plan.why import key_diff
from qairt.engine.run.options import RunOptions
from qairt.recipe import Recipe
from qairt.tui.lines.why import head_lines, laid_out, rows_of
from qairt.tui.screens.messages import EditRequested
from qairt.tui.screens.revert import RevertScreen
from qairt.tui.screens.why import WhyScreen
from qairt.tui.terminal.glyphs import Look
from qairt.tui.themes import VARIABLE_DEFAULTS

INLINE = RunOptions(jobs=1, executor="inline")
TEXT = "stages:\n  source: {}\n  fan:\n    suffix: a  # [b]kept[/b]\n    arn: [1, 2]\n  upper: {}\n  join: {}\n"
CHANGED = TEXT.replace("suffix: a", "suffix: '[red]b[/]'")


def pipeline(folder: Path, text: str, *words: str) -> Pipeline:
    (folder / "toy.yaml").write_text(text)
    recipe = Recipe.from_file(folder / "toy.yaml")
    recipe.override(words)
    kinds = (toy.Source, toy.Fan, toy.Upper, toy.Join)
    settings = recipe["stages"]
    stages = [kind(kind.config_type.model_validate(settings.get(kind.name) or {})) for kind in kinds]
    return Pipeline(stages, folder / "cache", recipe=recipe)


@pytest.fixture
def made(tmp_path: Path) -> Path:
    assert pipeline(tmp_path, TEXT).construct(INLINE).status == "done"
    return tmp_path


class Host(App[None]):
    """Shows one why screen; plans again when the recipe was written, as the app does."""

    def __init__(self, made: Pipeline, name: str, look: Look | None = None) -> None:
        super().__init__()
        self._made = made
        plan = made.plan()
        item = next(item for item in plan.items if item.name == name)
        self.edits: list[int] = []
        self.changes = 0
        self.toasts: list[str] = []
        self.why = WhyScreen(look or Look(), plan, made.recipe, item, lambda: _made_at(item) + 7200.0)

    def get_theme_variable_defaults(self) -> dict[str, str]:
        return VARIABLE_DEFAULTS

    def on_mount(self) -> None:
        self.push_screen(self.why)

    def notify(self, message: str, **more: object) -> None:  # type: ignore[override]
        self.toasts.append(message)

    def on_edit_requested(self, message: EditRequested) -> None:
        self.edits.append(message.line)

    def on_recipe_changed(self) -> None:
        self.changes += 1
        folder = self._made.cache_dir.parent
        again = pipeline(folder, (folder / "toy.yaml").read_text())
        self.why.show(again.plan(), again.recipe)

    def text(self) -> str:
        return "\n".join("".join(s.text for s in strip).rstrip() for strip in self.screen._compositor.render_strips())


def _made_at(item: object) -> float:
    last = item.last  # type: ignore[attr-defined]
    return datetime.fromisoformat(last.timestamp).timestamp() if last is not None else 0.0


async def test_it_shows_both_keys_the_root_and_what_passes_it_on(made: Path) -> None:
    app = Host(pipeline(made, CHANGED), "join all")
    async with app.run_test(size=(80, 24)) as pilot:
        await pilot.pause()
        shown = app.text()
        assert "why  join all   ≠ stale   root cause: stages.fan.suffix a → [red]b[/] (at fan" in shown
        assert "built 2 hours ago" in shown
        assert "≠ stages.fan.suffix  a" in shown
        assert "toy.yaml:4" in shown
        assert "≠ input fan ar1" in shown
        assert "passed on" in shown
        assert "2 values unchanged (A shows them)" in shown


async def test_equal_rows_are_shown_on_demand(made: Path) -> None:
    app = Host(pipeline(made, CHANGED), "fan ar1")
    async with app.run_test(size=(80, 24)) as pilot:
        await pilot.pause()
        assert "stages.fan.sleep" not in app.text()
        assert "values unchanged (A shows them)" in app.text()
        await pilot.press("A")
        assert "= stages.fan.sleep" in app.text()
        assert "needed by: join all" in app.text()
        await pilot.press("A")
        assert "stages.fan.sleep" not in app.text()


async def test_next_and_previous_go_around_what_runs(made: Path) -> None:
    app = Host(pipeline(made, CHANGED), "fan ar1")
    async with app.run_test(size=(80, 24)) as pilot:
        names = []
        for key in ("n", "n", "n", "n", "N"):
            await pilot.press(key)
            names.append(app.why.item.name)
        assert names == ["fan ar2", "upper ar2", "join all", "fan ar1", "join all"]


async def test_setting_back_writes_that_one_line(made: Path) -> None:
    app = Host(pipeline(made, CHANGED), "fan ar1")
    async with app.run_test(size=(80, 24)) as pilot:
        await pilot.press("u")
        await pilot.pause()
        assert isinstance(app.screen, RevertScreen)
        assert "- suffix: '[red]b[/]'  # [b]kept[/b]" in app.text()
        assert "+ suffix: a  # [b]kept[/b]" in app.text()
        await pilot.press("n")
        assert (made / "toy.yaml").read_text() == CHANGED
        await pilot.press("u", "y")
        await pilot.pause()
        assert (made / "toy.yaml").read_text() == TEXT
        assert app.changes == 1
        assert "≡ cached: the next run reuses it" in app.text()


@pytest.mark.parametrize(
    ("text", "words", "keys", "told"),
    [
        (TEXT, ("stages.fan.suffix=z",), "u", "was given on the command line: remove it there"),
        (TEXT.replace("    suffix: a  # [b]kept[/b]\n", ""), (), "u", "the recipe does not set stages.fan.suffix"),
        (CHANGED, (), "Aju", "did not change"),
        (TEXT.replace("suffix: a", "suffix: >\n      x"), (), "u", "is not a single word on one line"),
    ],
)
async def test_what_cannot_be_set_back_is_refused(
    made: Path, text: str, words: tuple[str, ...], keys: str, told: str
) -> None:
    app = Host(pipeline(made, text, *words), "fan ar1")
    async with app.run_test(size=(80, 24)) as pilot:
        await pilot.press(*keys)
        await pilot.pause()
        assert app.screen is app.why
        assert told in app.toasts[-1]
        assert (made / "toy.yaml").read_text() == text


async def test_what_is_passed_on_is_not_set_back(made: Path) -> None:
    app = Host(pipeline(made, CHANGED), "join all")
    async with app.run_test(size=(80, 24)) as pilot:
        await pilot.press("j", "u")
        assert app.toasts == ["fan ar1 only passes the change on: select its root cause"]
        await pilot.press("g", "e")
        assert app.edits == [4]


async def test_copying_and_ascii(made: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    app = Host(pipeline(made, CHANGED), "fan ar1", Look(ascii=True))
    async with app.run_test(size=(80, 24)) as pilot:
        await pilot.press("y")
        assert "≠ stages.fan.suffix  a" in app.clipboard
        assert "\n".join(app.text().splitlines()[:-1]).isascii()


@pytest.mark.parametrize("size", [(20, 5), (40, 10), (200, 50), (250, 70)])
async def test_other_sizes(made: Path, size: tuple[int, int]) -> None:
    app = Host(pipeline(made, CHANGED), "join all")
    async with app.run_test(size=size) as pilot:
        await pilot.press("A", "G", "n", "u")
        await pilot.pause()


def test_lines_of_an_item_that_was_never_made(tmp_path: Path) -> None:
    new = pipeline(tmp_path, TEXT)
    plan = new.plan()
    diff = key_diff(plan, next(plan.items), new.recipe)
    assert head_lines(diff, 0.0, Look())[0] == "why  source all   · new   root cause: not built yet"
    _, lines = laid_out(rows_of(diff, everything=False), 60, Look())
    assert lines[0].startswith("= stages.source.text")
    assert all(len(line) <= 60 for line in lines)
