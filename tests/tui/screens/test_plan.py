"""The plan screen: rows, causes, faults in place, and what its keys do."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import toy_stages as toy
from textual.app import App
from textual.widgets import Static

from qairt.engine.pipeline import Pipeline
from qairt.engine.run.options import RunOptions
from qairt.errors import ModelError, QairtError, RecipeError
from qairt.project import PlanResult
from qairt.recipe import Recipe
from qairt.tui.lines.plan import as_text, faults_of, laid_out, plan_table
from qairt.tui.screens.messages import EditRequested
from qairt.tui.screens.plan import PlanChoice, PlanScreen
from qairt.tui.terminal.glyphs import Look
from qairt.tui.themes import VARIABLE_DEFAULTS

INLINE = RunOptions(jobs=1, executor="inline")
TEXT = "stages:\n  source: {}\n  fan:\n    suffix: a\n    arn: [1, 2]\n  upper: {}\n  join: {}\n"


class Odd(toy.Upper):
    """A stage whose name looks like markup."""

    name = "[red]odd[/]"


def pipeline(folder: Path, text: str = TEXT, *, odd: bool = False) -> Pipeline:
    (folder / "toy.yaml").write_text(text)
    recipe = Recipe.from_file(folder / "toy.yaml")
    kinds = (toy.Source, toy.Fan, Odd if odd else toy.Upper, toy.Join)
    settings = recipe["stages"]
    stages = [kind(kind.config_type.model_validate(settings.get(kind.name) or {})) for kind in kinds]
    return Pipeline(stages, folder / "cache", recipe=recipe)


@pytest.fixture
def made(tmp_path: Path) -> Path:
    assert pipeline(tmp_path).construct(INLINE).status == "done"
    return tmp_path


class Host(App[None]):
    """Shows one plan screen and keeps what it posts."""

    def __init__(
        self, made: Pipeline | QairtError, look: Look | None = None, memory: int = 0, *, readonly: bool = False
    ) -> None:
        super().__init__()
        self.posted: list[Any] = []
        self.requested: list[PlanChoice] = []
        self._made = made
        planned = PlanResult(error=made) if isinstance(made, QairtError) else PlanResult(made, made.plan())
        self.plan = PlanScreen(look or Look(), "toy.yaml", planned, self.replan, memory=memory, readonly=readonly)

    def get_theme_variable_defaults(self) -> dict[str, str]:
        return VARIABLE_DEFAULTS

    def on_mount(self) -> None:
        self.push_screen(self.plan)

    def replan(self, choice: PlanChoice) -> PlanResult:
        self.requested.append(choice)
        assert isinstance(self._made, Pipeline)
        return PlanResult(self._made, self._made.plan(RunOptions(until=choice.until, force=choice.force)))

    def on_plan_screen_start_requested(self, message: PlanScreen.StartRequested) -> None:
        self.posted.append(("run", message.choice))

    def on_edit_requested(self, message: EditRequested) -> None:
        self.posted.append(("edit", message.line, Path(message.file).name))

    def on_plan_screen_why_requested(self, message: PlanScreen.WhyRequested) -> None:
        self.posted.append(("why", message.stage, message.label))

    def text(self) -> str:
        """What the screen shows, as lines."""
        return "\n".join("".join(s.text for s in strip).rstrip() for strip in self.screen._compositor.render_strips())


def test_rows_say_what_is_reused_and_why_the_rest_runs(made: Path) -> None:
    table = plan_table(pipeline(made, TEXT.replace("suffix: a", "suffix: b").replace("1, 2", "1, 2, 3")).plan(), jobs=1)
    rows = {(row.stage, row.place): row for row in table.rows}
    assert {place: row.verdict for place, row in rows.items()} == {
        ("source", ""): "hit",
        ("fan", "1"): "run",
        ("fan", "2"): "run",
        ("fan", "3"): "new",
        ("upper", "2"): "run",
        ("upper", "3"): "new",
        ("join", ""): "run",
    }
    assert rows["fan", "1"].causes == ("stages.fan.suffix a → b", "fan.suffix a → b", "suffix a → b")
    assert rows["upper", "2"].reason == "fan ar2 changed: stages.fan.suffix a → b"
    assert rows["upper", "2"].causes[0] == "stages.fan.suffix a → b"
    assert rows["source", ""].causes == ("",)
    assert table.axes == "AR"


@pytest.mark.parametrize("width", [40, 77, 117, 197])
def test_lines_fit_the_width(made: Path, width: int) -> None:
    table = plan_table(pipeline(made, TEXT.replace("suffix: a", "suffix: bbbbbbbbbbbbbbbbbbb")).plan(), jobs=1)
    heading, rows = laid_out(table, width, Look())
    lengths = {len(line) for line in (heading, *("".join(row) for row in rows))}
    assert len(lengths) == 1
    assert lengths == {width}
    assert [name in heading for name in ("WHY", "TIME", "RAM", "ON DISK")] == [True, width > 40, width > 40, width > 77]
    times = [row[5].strip() for row in rows if width > 40]
    assert all(time == "-" or time.startswith("~") for time in times), "an estimate is marked as one at every width"


async def test_a_screen_to_look_at_offers_nothing_that_changes(made: Path) -> None:
    app = Host(pipeline(made), readonly=True)
    async with app.run_test(size=(100, 30)) as pilot:
        await pilot.press("o", "f", "e", "enter")
        await pilot.pause()
        assert (app.requested, app.posted) == ([], [])
        offered = {binding.binding.description for binding in app.plan.active_bindings.values() if binding.enabled}
        assert offered & {"Run", "Edit", "Until", "Force", "Why?", "Copy"} == {"Why?", "Copy"}


@pytest.mark.parametrize("size", [(80, 24), (120, 36), (20, 5), (250, 70)])
async def test_it_shows_counts_rows_and_causes(made: Path, size: tuple[int, int]) -> None:
    app = Host(pipeline(made, TEXT.replace("suffix: a", "suffix: b")), memory=10_000)
    async with app.run_test(size=size) as pilot:
        await pilot.pause()
        if size[0] < 80:
            return
        shown = app.text()
        assert "5 items: 1 cached ≡ · 4 stale ≠" in shown
        assert "≡ hit" in shown
        assert "≠ run" in shown
        assert "Root cause: 1 recipe change (stages.fan.suffix) explains 4 of 4 stale items" in shown
        assert "with stages.fan.suffix back at a, 5 of 5 items would be reused" in shown


async def test_nothing_but_ascii_when_asked(made: Path) -> None:
    app = Host(pipeline(made, TEXT.replace("suffix: a", "suffix: b")), Look(ascii=True))
    async with app.run_test(size=(80, 24)) as pilot:
        await pilot.pause()
        shown = app.text()
        assert "# run" in shown
        assert [char for line in shown.splitlines()[:-1] for char in line if ord(char) > 126] == []


async def test_keys(made: Path) -> None:
    app = Host(pipeline(made, TEXT.replace("suffix: a", "suffix: b")))
    async with app.run_test(size=(80, 24)) as pilot:
        await pilot.press("j", "w", "e", "enter")
        assert app.posted == [("why", "fan", "ar1"), ("edit", 3, ""), ("run", PlanChoice())]
        await pilot.press("G", "w", "g", "w")
        assert app.posted[3:] == [("why", "join", "all"), ("why", "source", "all")]


async def test_the_cursor_is_seen_without_colour(made: Path) -> None:
    app = Host(pipeline(made, TEXT.replace("suffix: a", "suffix: b")))
    async with app.run_test(size=(80, 24)) as pilot:
        await pilot.press("j")
        await pilot.pause()
        strips = app.screen._compositor.render_strips()
        reversed_lines = [i for i, strip in enumerate(strips) if any(s.style and s.style.reverse for s in strip)]
        assert reversed_lines == [4]


async def test_until_and_force_plan_again_and_reach_the_run(made: Path) -> None:
    app = Host(pipeline(made))
    async with app.run_test(size=(80, 24)) as pilot:
        await pilot.press("j", "f")
        await app.workers.wait_for_complete()
        await pilot.pause()
        assert app.requested == [PlanChoice(force=frozenset({"fan"}))]
        assert "requested with --force" in app.text()
        await pilot.press("o")
        await app.workers.wait_for_complete()
        await pilot.pause()
        assert "only up to fan; rebuilding fan" in app.text()
        assert "join" not in app.text()
        await pilot.press("enter")
        assert app.posted == [("run", PlanChoice("fan", frozenset({"fan"})))]
        await pilot.press("o", "f")
        await app.workers.wait_for_complete()
        await pilot.pause()
        assert app.requested[-1] == PlanChoice()
        assert "nothing to run" in app.text()
        await pilot.press("f", "k", "o")
        await app.workers.wait_for_complete()
        await pilot.pause()
        assert app.requested[-1] == PlanChoice("source"), "what comes after the last stage is not forced"


async def test_faults_are_shown_in_place_and_edited_where_they_are(made: Path) -> None:
    faults = [
        RecipeError("stages.fan.sufix is not a setting of fan", where="/x/toy.yaml:4", remedy="did you mean suffix?"),
        RecipeError("[b]odd[/b] is unknown", where="command line", remedy="leave it out"),
    ]
    app = Host(RecipeError("2 faults", faults=faults))
    async with app.run_test(size=(80, 24)) as pilot:
        await pilot.pause()
        shown = app.text()
        assert "2 errors in the recipe. Press e to open the selected one in the editor." in shown
        assert "× toy.yaml:4  stages.fan.sufix is not a setting of fan" in shown
        assert "    did you mean suffix?" in shown
        assert "[b]odd[/b] is unknown" in shown
        await pilot.press("enter", "w", "o", "f", "e", "j", "e")
        assert app.posted == [("edit", 4, "toy.yaml"), ("edit", 0, "")]
        fixed = pipeline(made)
        app.plan.show(PlanResult(fixed, fixed.plan()))
        await pilot.pause()
        assert "5 items: 5 cached" in app.text()


async def test_a_fault_of_a_file_is_no_error_in_the_recipe() -> None:
    app = Host(ModelError("the file is truncated", where="/x/model.safetensors", remedy="download it again"))
    async with app.run_test(size=(80, 24)) as pilot:
        await pilot.pause()
        shown = app.text()
        assert "1 error keeps the recipe from running. Press e to open it in the editor." in shown
        assert "× /x/model.safetensors  the file is truncated" in shown


async def test_names_with_markup_are_shown_as_they_are(tmp_path: Path) -> None:
    app = Host(pipeline(tmp_path, odd=True))
    async with app.run_test(size=(80, 24)) as pilot:
        await pilot.pause()
        assert "[red]odd[/]" in app.text()
        await pilot.press("j", "j", "j", "w")
        assert app.posted == [("why", "[red]odd[/]", "ar2")]
        assert "[red]odd[/] ar2: not built yet" in str(app.plan.query_one("#reason", Static).content)


async def test_the_plan_is_copied_whole(made: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    app = Host(pipeline(made, TEXT.replace("suffix: a", "suffix: b")))
    async with app.run_test(size=(80, 24)) as pilot:
        await pilot.press("y")
        copied = (tmp_path / "state/qairt/clipboard.txt").read_text()
        assert "stages.fan.suffix a → b" in copied
        assert copied == app.clipboard


async def test_notices_and_warnings_stand_below_cut_to_the_width(
    made: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    long = "the configuration does not use these stored tensors: " + ", ".join(f"model.layers.{i}.q" for i in range(9))
    told = ["one\x1b[31m [b]bold[/b]", long, "third", "fourth"]
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    monkeypatch.setattr(toy.Fan, "notices", lambda stage, env: told)
    changed = pipeline(made, TEXT.replace("suffix: a", "suffix: b"))
    changed.warnings.append("fifth")
    app = Host(changed)
    async with app.run_test(size=(80, 24)) as pilot:
        await pilot.press("y")
        lines = [line.strip() for line in app.text().splitlines()]
        first = lines.index("Note: one[31m [b]bold[/b]")
        assert lines[first - 2].startswith("Root cause: ")
        assert lines[first + 1] == f"Note: {long}"[:76] + "…"
        assert lines[first + 2 : first + 4] == ["Note: third", "2 more: press y to copy them all"]
        assert app.clipboard.endswith(f"\nNote: {long}\nNote: third\nNote: fourth\nNote: fifth\n")
        fixed = pipeline(made)
        app.plan.show(PlanResult(fixed, fixed.plan()))
        await pilot.pause()
        assert [line.strip() for line in app.text().splitlines() if "Note:" in line][1:] == [
            lines[first + 1],
            "Note: third",
        ]


def test_memory_that_does_not_suffice_is_told(tmp_path: Path) -> None:
    from qairt.engine.plan.why import summary
    from qairt.tui.lines.plan import below_lines

    changed = pipeline(tmp_path)
    plan = changed.plan()
    table = plan_table(plan, jobs=1)
    lines = below_lines(table, summary(plan, changed.recipe), 1, Look())
    assert any(line.startswith("! fan 1 is expected to need ") and "the limit is 1 B" in line for line in lines)
    assert as_text(["head"], table, lines).startswith("head\n\nSTAGE")


def test_a_fault_without_a_place_is_told_too() -> None:
    (fault,) = faults_of(RecipeError("it is \x1b[31mwrong"))
    assert (fault.where, fault.what, fault.line) == ("", "it is [31mwrong", 0)


async def test_stages_are_folded_by_key(made: Path) -> None:
    app = Host(pipeline(made))
    async with app.run_test(size=(100, 24)) as pilot:
        await pilot.pause()
        rows = app.plan._table.rows
        several = next(row.stage for row in rows if sum(each.stage == row.stage for each in rows) > 1)
        app.plan._rows.highlighted = next(at for at, row in enumerate(rows) if row.stage == several)
        await pilot.press("minus")
        folded = [row for row in app.plan._table.rows if row.stage == several]
        assert [(row.place, len(row.items)) for row in folded] == [
            ("all", sum(len(r.items) for r in rows if r.stage == several))
        ]
        assert app.plan.selected.stage == several
        await pilot.press("minus")
        assert app.plan._table.rows == rows
        await pilot.press("asterisk")
        assert len(app.plan._table.rows) == len({row.stage for row in rows})
        await pilot.press("asterisk")
        assert app.plan._table.rows == rows


async def test_s_sorts_by_the_columns_that_are_shown(made: Path) -> None:
    app = Host(pipeline(made, TEXT.replace("suffix: a", "suffix: bb")))
    async with app.run_test(size=(120, 30)) as pilot:
        await pilot.pause()
        screen = app.plan

        def rows() -> list[tuple[str, str]]:
            assert screen._table is not None
            return [(row.stage, row.place) for row in screen._table.rows]

        stages = rows()
        await pilot.press("down")
        selected = screen.selected
        assert selected is not None
        for title in ("TIME", "RAM", "ON DISK"):
            await pilot.press("s")
            assert f"▼{title}" in str(screen.query_one("#heading", Static).render())
            assert screen._table is not None
            measure = {"TIME": "seconds", "RAM": "peak_ram", "ON DISK": "bytes"}[title]
            values = [getattr(row, measure) for row in screen._table.rows]
            assert values == sorted(values, reverse=True)
            assert screen.selected is not None
            assert (screen.selected.stage, screen.selected.place) == (selected.stage, selected.place)
        await pilot.press("s")
        assert rows() == stages
        await pilot.resize_terminal(80, 24)
        for title in ("TIME", "RAM"):
            await pilot.press("s")
            assert f"▼{title}" in str(screen.query_one("#heading", Static).render())
        await pilot.press("s")
        assert rows() == stages, "the column of sizes is not shown there"
