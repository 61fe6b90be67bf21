"""The clear dialog: its text, all its keys, and that it fits."""

from __future__ import annotations

import threading
from pathlib import Path
from typing import Any

import pytest
from filled_cache import fill, put, ran, state_of
from textual.app import App

from qairt.engine.cache.cache import StageCache
from qairt.engine.cache.clearing import ClearPreview, Scope, preview_items
from qairt.engine.cache.store import Store
from qairt.errors import CacheError
from qairt.tui.screens.clear import ClearChoice, ClearScreen, Preview
from qairt.tui.terminal.glyphs import Look
from qairt.tui.themes import VARIABLE_DEFAULTS


class Host(App[None]):
    def __init__(self, preview: Preview, look: Look | None = None, scopes: tuple[Scope, ...] | None = None) -> None:
        super().__init__()
        self.answers: list[ClearChoice | None] = []
        self.dialog = ClearScreen(preview, look or Look(), *([scopes] if scopes else []))

    def get_theme_variable_defaults(self) -> dict[str, str]:
        return VARIABLE_DEFAULTS

    def on_mount(self) -> None:
        self.push_screen(self.dialog, self.answers.append)


def picture(app: App[Any]) -> list[str]:
    """What is on the screen, line by line."""
    strips = app.screen._compositor.render_strips()
    return ["".join(segment.text for segment in strip).strip() for strip in strips]


@pytest.fixture
def store(tmp_path: Path) -> Store:
    fill(tmp_path)
    put(StageCache(tmp_path), "convert", "ar128-split1")
    return Store(tmp_path)


@pytest.fixture
def of_first(store: Store) -> Preview:
    """Previews of the first item of `convert`."""
    state = state_of(store.entries())
    return lambda scope, after: preview_items(
        store, state, ("convert", "ar1-split1"), scope, row_axis="split", after=after
    )


async def settle(pilot) -> None:
    await pilot.app.workers.wait_for_complete()
    await pilot.pause()


async def test_what_it_says(of_first, store):
    ran(store.cache_dir, "/recipes/other[bold].yaml", store.entries()[1:2])
    app = Host(of_first)
    async with app.run_test(size=(80, 24)) as pilot:
        await settle(pilot)
        shown = "\n".join(picture(app))
        for part in (
            "Clear cache",
            "convert ar1-split1",
            "frees 19 B at the next prune; can be undone until then",
            "rebuilding takes 60 s",
            "keeps quantize (1), export_bundle (1), built from it",
            "(x) i this item   ( ) r this row   ( ) t whole stage",
            "[ ] a and everything built from it",
            "n keep (default)   y clear",
        ):
            assert part in shown
        assert "other" not in shown
        await pilot.press("r", "a")
        await settle(pilot)
        shown = "\n".join(picture(app))
        assert "convert · AR 1 · 2 items" in shown
        assert "also clears quantize (2), export_bundle (1), built from it" in shown
        assert "! 1 of 5 items was also used by recipe other[bold].yaml" in shown
        assert "( ) i this item   (x) r this row   ( ) t whole stage" in shown
        assert "[x] a and everything built from it" in shown


@pytest.mark.parametrize(
    ("keys", "what", "after", "number"),
    [
        (["y"], "item", False, 1),
        (["a", "y"], "item", True, 3),
        (["r", "y"], "row", False, 2),
        (["t", "y"], "stage", False, 3),
        (["t", "a", "i", "a", "y"], "item", False, 1),
    ],
)
async def test_yes_clears_what_was_chosen_and_never_waits_for_a_second_key(of_first, keys, what, after, number):
    app = Host(of_first)
    async with app.run_test(size=(80, 24)) as pilot:
        await pilot.press(*keys)
        await settle(pilot)
    (choice,) = app.answers
    assert choice is not None
    assert (choice.scope, choice.after, len(choice.preview.entries)) == (what, after, number)


@pytest.mark.parametrize("key", ["n", "escape", "enter", "ctrl+c"])
async def test_keeping_is_the_default(of_first, key):
    app = Host(of_first)
    async with app.run_test(size=(80, 24)) as pilot:
        await settle(pilot)
        await pilot.press(key)
    assert app.answers == [None]


async def test_what_is_refused_cannot_be_cleared(of_first):
    refused = "quantize ar1-split1 is running"

    def preview(what: Scope, after: bool) -> ClearPreview:
        found = of_first(what, after)
        return ClearPreview(found.title, found.entries, 1, 1.0, refused=refused if after else None)

    app = Host(preview)
    async with app.run_test(size=(80, 24)) as pilot:
        await pilot.press("a", "y")
        await settle(pilot)
        assert app.answers == []
        shown = "\n".join(picture(app))
        assert f"cannot be cleared now: {refused}" in shown
        assert "y clear" not in shown
        await pilot.press("y")
        assert app.answers == []
        await pilot.press("a", "y")
        await settle(pilot)
    assert [choice.after for choice in app.answers] == [False]


@pytest.mark.parametrize(
    ("error", "told"),
    [
        (CacheError("it is gone", where="/cache", remedy="mount it"), ["/cache: it is gone", "mount it"]),
        (OSError(5, "Input/output error", "/cache/x"), ["/cache/x: Input/output error"]),
    ],
)
async def test_a_cache_that_cannot_be_read(error, told):
    def preview(what: Scope, after: bool) -> ClearPreview:
        raise error

    app = Host(preview)
    async with app.run_test(size=(80, 24)) as pilot:
        await pilot.press("y")
        await settle(pilot)
        shown = "\n".join(picture(app))
        assert all(line in shown for line in told)
        assert "y clear" not in shown
        await pilot.press("y")
        assert app.answers == []
        await pilot.press("n")
    assert app.answers == [None]


async def test_it_says_that_it_reads_and_an_answer_for_another_scope_does_not_count(of_first):
    go = threading.Event()

    def slow(what: Scope, after: bool) -> ClearPreview:
        if what == "item":
            go.wait(10)
        return of_first(what, after)

    app = Host(slow)
    async with app.run_test(size=(80, 24)) as pilot:
        await pilot.press("y")
        await pilot.pause()
        assert "reading the cache…" in "\n".join(picture(app))
        await pilot.press("r")
        go.set()
        await settle(pilot)
        assert app.answers == []
        assert "convert · AR 1 · 2 items" in "\n".join(picture(app))


async def test_only_the_scopes_there_are(of_first):
    app = Host(of_first, scopes=("stage",))
    async with app.run_test(size=(80, 24)) as pilot:
        await pilot.press("i", "r")
        await settle(pilot)
        shown = "\n".join(picture(app))
        assert "(x) t whole stage" in shown
        assert "this item" not in shown
        await pilot.press("y")
    assert app.answers[0].scope == "stage"


async def test_keys_are_shown_as_the_user_has_them(of_first):
    app = Host(of_first)
    async with app.run_test(size=(80, 24)) as pilot:
        app.set_keymap({"clear.yes": "ctrl+y", "clear.row": "w"})
        await pilot.press("w")
        await settle(pilot)
        shown = "\n".join(picture(app))
        assert "(x) w this row" in shown
        assert "^y clear" in shown
        await pilot.press("ctrl+y")
    assert app.answers[0].scope == "row"


@pytest.mark.parametrize("size", [(80, 24), (40, 10), (20, 5), (200, 50)])
async def test_it_fits_and_scrolls_where_there_is_little_room(of_first, size):
    app = Host(of_first, Look(ascii=True))
    async with app.run_test(size=size) as pilot:
        await settle(pilot)
        lines = picture(app)
        assert len(lines) == size[1]
        assert all(line.isascii() for line in lines)
        if size[0] >= 40:
            assert any("n keep (default)   y clear" in line for line in lines)
        await pilot.press("end")
        await pilot.wait_for_animation()
        await pilot.pause()
        assert "from it" in picture(app)[[at for at, line in enumerate(picture(app)) if line.startswith("+")][-1] - 1]
        await pilot.press("y")
    assert len(app.answers) == 1
