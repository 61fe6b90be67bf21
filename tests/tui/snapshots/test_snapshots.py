"""Pictures of every screen at four sizes, and of what changes how it looks."""

from __future__ import annotations

import pytest
import staged_run as runs
from staged_app import SCENES, StagedApp, clear_refused, ending, failed, fix, furnish, monitor, nothing, states
from toy_project import shown

SIZES = {"80x24": (80, 24), "100x30": (100, 30), "120x36": (120, 36), "200x50": (200, 50)}
THEMES = ("qairt-light", "high-contrast", "colorblind", "mono")


@pytest.fixture
def taken(tmp_path, monkeypatch, snap_compare):
    """Whether the picture of an app, after a scene, is the one that was looked at and kept."""

    def compare(scene, size, *, environ=None, plain=False, **options):
        fix(monkeypatch, tmp_path, environ=environ)
        furnish([name for name, each in SCENES.items() if each is scene])
        app = StagedApp(environ=environ, **options)

        async def before(pilot):
            await app.open(pilot)
            await scene(app, pilot)
            if plain:
                assert [char for char in shown(app) if not " " <= char <= "~" and char != "\n"] == []

        return snap_compare(app, terminal_size=SIZES[size], run_before=before)

    return compare


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("name", SCENES)
def test_screen(taken, name, size):
    assert taken(SCENES[name], size)


@pytest.mark.parametrize("theme", THEMES)
def test_theme(taken, theme):
    assert taken(monitor, "120x36", theme=theme)


@pytest.mark.parametrize("size", ["80x24", "120x36"])
def test_no_color(taken, size):
    assert taken(monitor, size, environ={"NO_COLOR": "1"})


def test_no_color_plan(taken):
    assert taken(SCENES["plan"], "80x24", environ={"NO_COLOR": "1"})


@pytest.mark.parametrize("name", ["monitor", "plan", "help", "leave", "palette"])
def test_ascii(taken, name):
    assert taken(SCENES[name], "120x36", ascii=True, plain=True)


def test_ascii_where_there_is_little_room(taken):
    assert taken(monitor, "80x24", ascii=True, plain=True)


@pytest.mark.parametrize("theme", ["qairt-dark", "mono"])
def test_every_state(taken, theme):
    assert taken(states, "200x50", events=runs.every_state, theme=theme)


@pytest.mark.parametrize("size", ["80x24", "200x50"])
def test_failed_run(taken, size):
    assert taken(failed, size, events=runs.failing)


@pytest.mark.parametrize("size", ["80x24", "200x50"])
def test_ninety_graphs(taken, size):
    assert taken(nothing, size, events=lambda items: runs.ninety())


@pytest.mark.parametrize("size", SIZES)
def test_ending(taken, size):
    assert taken(ending, size, events=runs.finished)


def test_clear_is_refused_while_a_run_needs_it(taken):
    assert taken(clear_refused, "80x24")


def test_gpu(taken):
    assert taken(monitor, "200x50", events=lambda items: runs.compiling(items, gpu=True))


def test_before_the_first_run(taken):
    assert taken(nothing, "80x24", events=None, fresh=True)
