"""The recipe's tree: marks, origins, filter, copying, and that nothing is read as markup."""

from __future__ import annotations

from dataclasses import replace

import pytest
from textual.app import App, ComposeResult

from qairt.engine.settings_in_force import RecipeValue
from qairt.tui.terminal.glyphs import Look
from qairt.tui.themes import VARIABLE_DEFAULTS
from qairt.tui.widgets.recipe_tree import RecipeTree


def value(path: str, text: str, source: str = "file", where: str = "/r/toy.yaml:4", **more: object) -> RecipeValue:
    return RecipeValue(tuple(path.split(".")), text, source, where, **more)  # type: ignore[arg-type]


SUFFIX = value("stages.fan.suffix", "b", differs=True, before="a")
NAMED = value("stages.fan.recipe", "lpbq.yaml", children=(value("stages.fan.bits", "4", "preset", "/q/lpbq.yaml:3"),))
FAN = RecipeValue(("stages", "fan"), where="/r/toy.yaml:3", source="file", differs=True, children=(SUFFIX, NAMED))
ODD = RecipeValue(
    ("stages", "[red]odd[/]"), children=(value("stages.odd.text", "[b]x[/b]\x1b[31m", "command line", "command line"),)
)
VALUES = RecipeValue(
    (),
    children=(
        value("backend", "CPU", where="/r/toy.yaml:1"),
        value("verify", "size", "default", "default"),
        RecipeValue(("stages",), differs=True, children=(FAN, ODD)),
    ),
)


class Host(App[None]):
    def __init__(self, look: Look | None = None) -> None:
        super().__init__()
        self.tree_pane = RecipeTree(look or Look())

    def get_theme_variable_defaults(self) -> dict[str, str]:
        return VARIABLE_DEFAULTS

    def compose(self) -> ComposeResult:
        yield self.tree_pane

    def lines(self) -> list[str]:
        strips = self.screen._compositor.render_strips()
        return [text for strip in strips if (text := "".join(s.text for s in strip).rstrip())]


async def test_values_marks_and_origins() -> None:
    app = Host()
    async with app.run_test(size=(60, 20)) as pilot:
        app.tree_pane.show(VALUES)
        await pilot.pause()
        assert app.lines() == [
            "backend CPU  :1",
            "verify size  default",
            "▼ ≠ stages",
            "├ ▼ ≠ fan",
            "│ ├ ≠ suffix b (was a)  :4",
            "│ └ ▶ recipe lpbq.yaml  :4",
            "└ ▼ [red]odd[/]",
            "  └ text [b]x[/b][31m  command line",
        ]


async def test_an_ellipsis_marks_a_line_that_does_not_fit() -> None:
    app = Host()
    async with app.run_test(size=(20, 20)) as pilot:
        app.tree_pane.show(VALUES)
        await pilot.pause()
        assert app.lines() == [
            "backend CPU  :1",
            "verify size  default",
            "▼ ≠ stages",
            "├ ▼ ≠ fan",
            "│ ├ ≠ suffix b (was…",
            "│ └ ▶ recipe lpbq.y…",
            "└ ▼ [red]odd[/]",
            "  └ text [b]x[/b][3…",
        ]
        app.tree_pane.look = Look(ascii=True)
        await pilot.pause()
        assert app.lines()[-1] == "  ` text [b]x[/b]..."


async def test_ascii() -> None:
    app = Host(Look(ascii=True))
    async with app.run_test(size=(60, 20)) as pilot:
        app.tree_pane.show(VALUES)
        await pilot.pause()
        assert app.lines()[2:5] == ["v # stages", "+ v # fan", "| + # suffix b (was a)  :4"]
        assert "".join(app.lines()).isascii()
        app.tree_pane.look = Look()
        await pilot.pause()
        assert app.lines()[2] == "▼ ≠ stages"


async def test_groups_open_and_shut_by_keys_and_stay_so() -> None:
    app = Host()
    async with app.run_test(size=(60, 20)) as pilot:
        app.tree_pane.show(VALUES)
        app.tree_pane.focus()
        await pilot.pause()
        await pilot.press("j", "j", "j", "j", "j", "l")
        assert "│   └ bits 4  lpbq.yaml:3" in app.lines()
        await pilot.press("k", "h", "h")
        await pilot.pause()
        assert app.tree_pane.selected is FAN
        assert "├ ▶ ≠ fan" in app.lines()
        app.tree_pane.show(replace(VALUES, children=VALUES.children[1:]))
        await pilot.pause()
        assert "├ ▶ ≠ fan" in app.lines()
        assert app.tree_pane.selected is FAN
        await pilot.press("g")
        assert app.tree_pane.selected is VALUES.children[1]


async def test_only_lines_that_changed_are_labelled_anew(monkeypatch: pytest.MonkeyPatch) -> None:
    from textual.widgets.tree import TreeNode

    labelled: list[str] = []
    set_label = TreeNode.set_label
    monkeypatch.setattr(TreeNode, "set_label", lambda node, text: (labelled.append(str(text)), set_label(node, text)))
    app = Host()
    async with app.run_test(size=(60, 20)) as pilot:
        app.tree_pane.show(VALUES)
        await pilot.pause()
        labelled.clear()
        app.tree_pane.show(replace(VALUES))
        assert labelled == []
        first = replace(VALUES.children[0], text="HTP")
        app.tree_pane.show(replace(VALUES, children=(first, *VALUES.children[1:])))
        await pilot.pause()
        assert labelled == ["backend HTP  :1"]
        assert app.lines()[0] == "backend HTP  :1"


async def test_a_filter_keeps_what_contains_it_and_what_holds_that() -> None:
    app = Host()
    async with app.run_test(size=(60, 20)) as pilot:
        app.tree_pane.show(VALUES)
        app.tree_pane.filter = "BITS"
        await pilot.pause()
        assert app.lines() == [
            "▼ ≠ stages",
            "└ ▼ ≠ fan",
            "  └ ▼ recipe lpbq.yaml  :4",
            "    └ bits 4  lpbq.yaml:3",
        ]
        app.tree_pane.filter = "nothing such"
        await pilot.pause()
        assert app.lines() == []
        app.tree_pane.filter = ""
        await pilot.pause()
        assert len(app.lines()) == 8


async def test_a_value_is_copied_as_an_override() -> None:
    app = Host()
    async with app.run_test(size=(60, 20)) as pilot:
        assert app.tree_pane.copy_text == ""
        app.tree_pane.show(VALUES)
        await pilot.pause()
        assert app.tree_pane.copy_text == "backend=CPU"
        app.tree_pane.show(None)
        await pilot.pause()
        assert app.lines() == ["the recipe cannot be read"]


async def test_a_recipe_that_cannot_be_read_says_so() -> None:
    app = Host()
    async with app.run_test(size=(60, 20)) as pilot:
        tree = app.query_one(RecipeTree)
        tree.show(None)
        await pilot.pause()
        assert [str(node.label) for node in tree.root.children] == ["the recipe cannot be read"]
        assert (tree.selected, tree.copy_text) == (None, "")
        await pilot.press("down", "enter", "left", "right")
