"""Themes: every shipped one parses and can be read (contrast), a bad file is named and left out."""

from __future__ import annotations

import colorsys
from itertools import combinations
from pathlib import Path
from typing import Any, get_args

import pytest
from textual.app import App
from textual.color import Color
from textual.theme import Theme

from qairt.engine.record.item_state import ItemStatus
from qairt.tui.themes import DEFAULT_THEME, VARIABLE_DEFAULTS, load_themes, read_theme, register_all, shipped_themes

SHIPPED = {"qairt-dark", "qairt-light", "high-contrast", "colorblind", "mono"}
BACKGROUNDS = ("background", "surface", "panel")
TEXT = (
    *(name for name in VARIABLE_DEFAULTS if name.startswith(("state-", "graph-"))),
    *("foreground", "text-muted", "primary", "accent", "success", "warning", "error", "footer-key-foreground"),
)
LINES = ("border", "border-focus", "title", "scrollbar")


@pytest.fixture(autouse=True)
def config(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))
    folder = tmp_path / "qairt" / "themes"
    folder.mkdir(parents=True)
    return folder


def colours(theme: Theme) -> dict[str, str]:
    return {**theme.to_color_system().generate(), **theme.variables}


def luminance(color: Color) -> float:
    red, green, blue = (v / 12.92 if v <= 0.04045 else ((v + 0.055) / 1.055) ** 2.4 for v in color.normalized)
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue


def contrast(one: str, other: str) -> float:
    """WCAG 2.2."""
    low, high = sorted((luminance(Color.parse(one)), luminance(Color.parse(other))))
    return (high + 0.05) / (low + 0.05)


def shipped(*, ansi: bool = False) -> list[Theme]:
    return [theme for theme in load_themes()[0] if theme.ansi == ansi]


def test_contrast_is_measured_as_wcag_says() -> None:
    assert contrast("#000000", "#ffffff") == pytest.approx(21)
    assert contrast("#777777", "#ffffff") == pytest.approx(4.48, abs=0.01)


def test_every_shipped_theme_parses_and_the_default_comes_first() -> None:
    themes, problems = load_themes()
    assert problems == []
    assert {theme.name for theme in themes} == SHIPPED
    assert themes[0].name == DEFAULT_THEME
    assert {path.stem for path in shipped_themes().glob("*.yaml")} == SHIPPED


def test_there_is_a_variable_for_every_state() -> None:
    assert {name for name in VARIABLE_DEFAULTS if name.startswith("state-")} == {
        f"state-{status}" for status in get_args(ItemStatus)
    }


def test_the_defaults_are_those_of_the_default_theme() -> None:
    theme = load_themes()[0][0]
    assert {name: theme.variables[name] for name in VARIABLE_DEFAULTS} == VARIABLE_DEFAULTS


@pytest.mark.parametrize("name", sorted(SHIPPED - {"mono"}))
def test_text_can_be_read_on_every_background(name: str) -> None:
    theme = next(theme for theme in shipped() if theme.name == name)
    palette = colours(theme)
    least = 7.0 if name == "high-contrast" else 4.5
    found = {(role, on): contrast(palette[role], palette[on]) for role in TEXT for on in BACKGROUNDS}
    assert {pair: ratio for pair, ratio in found.items() if ratio < least} == {}


@pytest.mark.parametrize("name", sorted(SHIPPED - {"mono"}))
def test_borders_and_titles_can_be_seen(name: str) -> None:
    palette = colours(next(theme for theme in shipped() if theme.name == name))
    found = {(role, on): contrast(palette[role], palette[on]) for role in LINES for on in BACKGROUNDS}
    assert {pair: ratio for pair, ratio in found.items() if ratio < 3} == {}


def test_the_mono_theme_has_no_colour_at_all() -> None:
    (mono,) = shipped(ansi=True)
    hues = {
        name: value
        for name, value in colours(mono).items()
        if not name.endswith(("-style", "-style-hover")) and value not in ("ansi_default", "transparent")
    }
    assert hues == {}
    assert "reverse" in mono.variables["block-cursor-text-style"]


def _hue(color: str) -> tuple[float, float]:
    red, green, blue = Color.parse(color).normalized
    hue, _, saturation = colorsys.rgb_to_hls(red, green, blue)
    return hue * 360, saturation


def _deuteranopia(color: str) -> tuple[float, float, float]:
    """As someone without green cones sees it (Machado, Oliveira and Fernandes 2009)."""
    red, green, blue = (value * 100 for value in Color.parse(color).normalized)
    return (
        0.367322 * red + 0.860646 * green - 0.227968 * blue,
        0.280085 * red + 0.672501 * green + 0.047413 * blue,
        -0.011820 * red + 0.042940 * green + 0.968881 * blue,
    )


def test_colorblind_has_neither_red_nor_green() -> None:
    theme = next(theme for theme in shipped() if theme.name == "colorblind")
    palette = colours(theme)
    for role in (*TEXT, *LINES):
        hue, saturation = _hue(palette[role])
        assert saturation < 0.25 or 20 <= hue <= 70 or 190 <= hue <= 250, f"{role} {palette[role]} has hue {hue:.0f}"


def test_colorblind_tells_the_states_that_matter_apart_without_green_cones() -> None:
    theme = next(theme for theme in shipped() if theme.name == "colorblind")
    seen = {s: _deuteranopia(theme.variables[f"state-{s}"]) for s in ("done", "failed", "running", "cached")}
    for one, other in combinations(seen, 2):
        distance = sum((a - b) ** 2 for a, b in zip(seen[one], seen[other], strict=True)) ** 0.5
        assert distance > 25, f"{one} and {other}"


@pytest.mark.parametrize(
    ("text", "place", "said"),
    [
        ("name: x\nprimary: '#zzz'\n", ":2", "primary: should be a colour such as '#7aa8f7', not '#zzz'"),
        ("name: x\nprimary: bluu\n", ":2", "should be a colour such as '#7aa8f7'; did you mean blue?"),
        ("name: x\nprimary: #fff\n", ":2", "without quotes, # starts a comment"),
        ("name: x\nprimary: 123456\n", ":2", "should be a colour in quotes"),
        ("name: x\nprimery: '#fff'\nprimary: '#fff'\n", ":2", "primery is not known; did you mean primary?"),
        (
            "name: x\nprimary: '#fff'\nstate:\n  runing: '#fff'\n",
            ":4",
            "state.runing is not known; did you mean running?",
        ),
        ("name: x\nprimary: '#fff'\nstate: blue\n", ":3", "state: "),
        ("name: x\n", "", "primary is missing"),
        ("name: a,b\nprimary: '#fff'\n", ":1", "name: "),
        ("name: x\nname: y\nprimary: '#fff'\n", ":2", "name is set twice, first on line 1"),
        ("name: [\n", ":2", "is not valid YAML"),
        ("- a\n", ":1", "should consist of KEY: VALUE lines"),
        ("", "", "name is missing"),
        ("name: x\nprimary: !!python/object:os.system {}\n", ":2", "is not valid YAML"),
        ("name: x\ndark: maybe\nprimary: '#fff'\n", ":2", "dark: input should be a valid boolean, not 'maybe'"),
    ],
)
def test_a_bad_file_is_named_with_its_line_and_left_out(config: Path, text: str, place: str, said: str) -> None:
    path = config / "mine.yaml"
    path.write_text(text)
    themes, problems = load_themes()
    assert {theme.name for theme in themes} == SHIPPED
    assert problems[0].startswith(f"{path}{place}: ")
    assert said in problems[0]
    assert problems[0].endswith("; the theme is ignored")


def test_a_file_that_is_no_text_or_cannot_be_opened_is_named(config: Path) -> None:
    (config / "a.yaml").write_bytes(b"\xff\xfe\x00")
    (config / "b.yaml").symlink_to(config / "nothing")
    (config / "c.yaml").mkdir()
    themes, problems = load_themes()
    assert {theme.name for theme in themes} == SHIPPED
    assert len(problems) == 3
    assert "is not UTF-8 text" in problems[0]
    assert "cannot be read" in problems[1]
    assert "cannot be read" in problems[2]


def test_a_users_theme_takes_the_place_of_a_shipped_one_and_needs_only_two_keys(config: Path) -> None:
    (config / "dark.yaml").write_text("name: qairt-dark\nprimary: '#123456'\nstate: {running: '#abcdef'}\n")
    (config / "paper.yml").write_text("name: paper\ndark: false\nprimary: navy\n")
    themes = {theme.name: theme for theme in load_themes()[0]}
    assert themes["qairt-dark"].primary == "#123456"
    assert themes["qairt-dark"].variables["state-running"] == "#abcdef"
    assert themes["qairt-dark"].variables["state-failed"] == VARIABLE_DEFAULTS["state-failed"]
    light = next(theme for theme in shipped() if theme.name == "qairt-light")
    assert themes["paper"].variables["state-failed"] == light.variables["state-failed"]


def test_read_theme_gives_one_theme() -> None:
    theme, problems = read_theme(shipped_themes() / "mono.yaml")
    assert problems == []
    assert theme is not None
    assert theme.ansi


async def test_an_app_can_wear_every_theme_one_after_another() -> None:
    class Host(App[None]):
        CSS = "\n".join(f".x{place} {{ color: ${name}; }}" for place, name in enumerate(VARIABLE_DEFAULTS))

        def get_theme_variable_defaults(self) -> dict[str, str]:
            return VARIABLE_DEFAULTS

    app: App[Any] = Host()
    async with app.run_test(size=(80, 24)) as pilot:
        assert register_all(app) == []
        for theme in load_themes()[0]:
            app.theme = theme.name
            await pilot.pause()
            assert app.theme_variables["state-failed"] == theme.variables["state-failed"]
