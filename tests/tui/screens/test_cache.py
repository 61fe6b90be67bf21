"""The cache on the screen: what it lists, and every key of it."""

from __future__ import annotations

import threading
from pathlib import Path
from typing import Any

import pytest
from filled_cache import fill, put, ran, snapshot, state_of
from ratio import ratio
from textual.app import App

from qairt.engine.cache.cache import StageCache
from qairt.engine.cache.store import Store
from qairt.engine.record.state import RunState
from qairt.tui.lines import cache as lines_module
from qairt.tui.lines.cache import cache_lines, cache_rows, detail, read_cache
from qairt.tui.screens.cache import CacheScreen
from qairt.tui.screens.clear import ClearScreen
from qairt.tui.terminal.glyphs import Look
from qairt.tui.themes import VARIABLE_DEFAULTS


class Host(App[None]):
    def __init__(self, store: Store, state: RunState, look: Look | None = None, *, readonly: bool = False) -> None:
        super().__init__()
        self.changes = 0
        self.cache = CacheScreen(
            store,
            look or Look(),
            used=frozenset(item.key for item in state.items.values()),
            state=lambda: state,
            changed=self.count,
            readonly=readonly,
        )

    def get_theme_variable_defaults(self) -> dict[str, str]:
        return VARIABLE_DEFAULTS

    def on_mount(self) -> None:
        self.push_screen(self.cache)

    def count(self) -> None:
        self.changes += 1

    @property
    def messages(self) -> list[str]:
        return [str(note.message) for note in self._notifications]


def picture(app: App[Any]) -> list[str]:
    """What is on the screen, line by line."""
    strips = app.screen._compositor.render_strips()
    return ["".join(segment.text for segment in strip).rstrip() for strip in strips]


@pytest.fixture(autouse=True)
def quiet_home(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))


@pytest.fixture
def store(tmp_path: Path) -> Store:
    """Five entries that a recipe uses as it is now, and one that only another recipe uses."""
    cache_dir = tmp_path / "cache"
    entries = fill(cache_dir)
    other = put(StageCache(cache_dir), "convert", "ar1-split1", version="other")
    ran(cache_dir, "/recipes/own.yaml", entries)
    ran(cache_dir, "/recipes/other[b].yaml", [other, entries[1]])
    return Store(cache_dir)


@pytest.fixture
def state(store: Store) -> RunState:
    return state_of([entry for entry in store.entries() if "other" not in (entry.directory / "note.txt").read_text()])


async def settle(pilot) -> None:
    for _ in range(3):
        await pilot.app.workers.wait_for_complete()
        await pilot.pause()


async def test_what_it_lists(store, state):
    app = Host(store, state)
    async with app.run_test(size=(100, 24)) as pilot:
        await settle(pilot)
        shown = picture(app)
    assert shown[0].startswith(" cache · 6 entries, ")
    assert shown[1].split() == ["stage", "and", "item", "on", "disk", "took", "age", "key", "used", "by"]
    assert shown[2].split()[:7] == ["convert", "·", "3", "40", "kB", "3", "min"]
    items = shown[3:6]
    assert sorted("≡" in line for line in items) == [False, True, True]
    assert [line.split()[-1] for line in items if "split1" in line and "≡" in line] == ["own.yaml"]
    assert [line.split()[-1] for line in items if "split1" in line and "≡" not in line] == ["other[b].yaml"]
    assert [line.split()[-2:] for line in items if "split2" in line] == [["own.yaml,", "other[b].yaml"]]
    assert shown[6].split()[0] == "quantize"


async def test_a_row_is_told_in_full_below(store, state):
    app = Host(store, state)
    async with app.run_test(size=(120, 24)) as pilot:
        await settle(pilot)
        assert picture(app)[-2] == " convert: this recipe uses 2 of 3 entries"
        await pilot.press("G")
        await pilot.pause()
        assert picture(app)[-2].startswith(
            " used by this recipe · 20 kB alone · used by the latest run of own.yaml · /"
        )
    content = read_cache(store)
    rows = cache_rows(content)
    assert detail(rows[0], content, None) == "convert: 3 entries"
    assert "recipe" not in detail(rows[1], content, None)


async def test_what_a_run_began_to_need_since_it_was_asked_stays(store, state):
    app = Host(store, state)
    async with app.run_test(size=(80, 24)) as pilot:
        await settle(pilot)
        await pilot.press("G", "c")
        await settle(pilot)
        state.status = "running"
        state.items["export_bundle", "all"].status = "running"
        await pilot.press("y")
        await settle(pilot)
        assert app.messages[-1].startswith("nothing was cleared: export_bundle all is running; wait for")
        assert len(store.entries()) == 6
        assert app.changes == 0


async def test_it_says_that_it_reads(store, state, monkeypatch):
    go = threading.Event()
    read = lines_module.read_cache
    monkeypatch.setattr("qairt.tui.screens.cache.read_cache", lambda store: go.wait(10) and read(store))
    app = Host(store, state)
    async with app.run_test(size=(80, 24)) as pilot:
        await pilot.pause()
        assert picture(app)[0].startswith(" cache · loading; a large or remote directory takes a while")
        await pilot.press("c", "z", "P", "y", "j")  # nothing to do yet
        go.set()
        await settle(pilot)
        assert picture(app)[0].startswith(" cache · 6 entries")
        assert app.messages == []


async def test_a_cache_that_cannot_be_read(store, state, monkeypatch):
    def fail(store):
        raise OSError(5, "Input/output error")

    monkeypatch.setattr("qairt.tui.screens.cache.read_cache", fail)
    app = Host(store, state)
    async with app.run_test(size=(80, 24)) as pilot:
        await settle(pilot)
        assert "the cache cannot be read: [Errno 5] Input/output error" in picture(app)[0]


async def test_clear_undo_and_prune(store, state):
    before = snapshot(store.cache_dir)
    app = Host(store, state)
    async with app.run_test(size=(80, 24)) as pilot:
        await settle(pilot)
        await pilot.press("c")
        assert isinstance(app.screen, ClearScreen)
        await settle(pilot)
        assert "convert · 3 entries of all recipes" in "\n".join(picture(app))
        await pilot.press("y")
        await settle(pilot)
        assert [entry.stage for entry in store.entries()] == ["quantize", "quantize", "export_bundle"]
        assert app.messages[-1] == "cleared 3 entries: frees 62 B at the next prune; undo brings it back"
        assert " · cleared: " in picture(app)[0]
        await pilot.press("z")
        await settle(pilot)
        assert snapshot(store.cache_dir) == before
        assert app.messages[-1] == "restored 3 entries"
        await pilot.press("j", "c", "y")
        await settle(pilot)
        assert len(store.entries()) == 5
        await pilot.press("P", "n")
        await settle(pilot)
        assert len(store.trash.entries()) == 1
        await pilot.press("P", "y")
        await settle(pilot)
        assert store.trash.entries() == []
        assert app.messages[-1].startswith("deleted 1 cleared entry and 0 leftovers, freed ")
        assert app.changes == 4
        assert len(store.entries()) == 5


async def test_an_entry_alone_its_stage_or_with_what_is_made_from_it(store, state):
    app = Host(store, state)
    async with app.run_test(size=(80, 24)) as pilot:
        await settle(pilot)
        await pilot.press("G", "k", "k", "c")  # quantize ar1-split2
        await settle(pilot)
        shown = "\n".join(picture(app))
        assert "quantize ar1-split2" in shown
        assert "keeps export_bundle (1), built from it" in shown
        assert "this row" not in shown
        await pilot.press("t", "a", "y")
        await settle(pilot)
        assert {entry.stage for entry in store.entries()} == {"convert"}


async def test_what_cannot_be_undone_is_told(store, state):
    app = Host(store, state)
    async with app.run_test(size=(80, 24)) as pilot:
        await settle(pilot)
        await pilot.press("G", "c", "y")
        await settle(pilot)
        put(StageCache(store.cache_dir), "export_bundle", "all")
        await pilot.press("z")
        await settle(pilot)
        assert app.messages[-1].startswith("export_bundle all cannot be restored: rebuilt since then")
        assert app.changes == 1


async def test_filter_copy_and_back(store, state):
    app = Host(store, state)
    async with app.run_test(size=(80, 24)) as pilot:
        await settle(pilot)
        await pilot.press("slash", *"split2", "enter")
        await pilot.pause()
        shown = picture(app)
        assert shown[0].startswith(" cache · 2 of 6 entries")
        assert [line.split()[0] for line in shown[2:6]] == ["convert", "≡", "quantize", "≡"]
        await pilot.press("j", "y")
        (entry,) = store.entries("convert", "ar1-split2")
        assert app.clipboard == str(entry.directory)
        await pilot.press("escape")
        await pilot.pause()
        assert picture(app)[0].startswith(" cache · 6 entries")
        assert app.screen is app.cache
        await pilot.press("escape")
        await pilot.pause()
        assert app.screen is not app.cache


async def test_readonly_offers_no_change(store, state):
    store.clear(store.entries("quantize"))
    app = Host(store, state, readonly=True)
    async with app.run_test(size=(80, 24)) as pilot:
        await settle(pilot)
        assert "Clear" not in picture(app)[-1]
        await pilot.press("c", "z", "P")
        await settle(pilot)
        assert app.screen is app.cache
        assert len(store.trash.entries()) == 2


@pytest.mark.parametrize("size", [(200, 50), (120, 36), (80, 24), (40, 10), (20, 5)])
async def test_every_size_in_ascii(store, state, size):
    app = Host(store, state, Look(ascii=True))
    async with app.run_test(size=size) as pilot:
        await settle(pilot)
        shown = picture(app)
        assert len(shown) == size[1]
        assert all(line.isascii() for line in shown)
        assert all(len(line) <= size[0] for line in shown)
        await pilot.resize_terminal(30, 8)
        await pilot.pause()
        await pilot.press("c")
        await settle(pilot)
        await pilot.press("n")


def test_names_with_control_characters_stay_in_their_column(store, state):
    put(StageCache(store.cache_dir), "convert", "a\x1b[31m\n[bold]b")
    content = read_cache(store)
    rows = cache_rows(content)
    for width in (20, 80, 200):
        head, lines = cache_lines(rows, content, set(), Look(), width=width, now=0)
        assert all(line.isprintable() and len(line) <= width for line in [head, *lines])
    assert any("a [31m [bold]b" in line for line in lines)


def test_the_time_to_lay_out_a_cache_grows_with_its_entries_and_no_faster(store):
    content = read_cache(store)

    def lay_out(entries: int) -> list[str]:
        many = type(content)([content.entries[0]] * entries, content.users, content.by_key, 0, (), 0, ())
        return cache_lines(cache_rows(many), many, set(), Look(), width=100, now=0)[1]

    assert len(lay_out(3000)) == 3001
    assert ratio(lambda: lay_out(3000), lambda: lay_out(300)) < 20


async def test_sorting(store, state):
    app = Host(store, state)
    async with app.run_test(size=(100, 24)) as pilot:
        await settle(pilot)
        usual = [row.id for row in app.screen._rows]
        orders = []
        for _ in range(3):
            await pilot.press("o")
            await settle(pilot)
            rows = app.screen._rows
            orders.append([row.stage for row in rows if row.is_stage])
            first = [row.entries[0] for row in rows if not row.is_stage and row.stage == rows[0].stage]
            sizes = [app.screen._content.by_key[entry.key] for entry in first]
            assert orders[1:] or sizes == sorted(sizes, reverse=True), "the largest first"
        assert all(sorted(order) == sorted(orders[0]) for order in orders)
        await pilot.press("o")
        await settle(pilot)
        assert [row.id for row in app.screen._rows] == usual
        await pilot.press("slash", *"no such", "enter")
        await settle(pilot)
        assert any("No entry matches 'no such'; esc clears the filter." in line for line in picture(app))
