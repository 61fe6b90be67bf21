"""What is shown first, and what of it each kind of terminal is sent."""

from __future__ import annotations

import pytest
from terminal import colours, shown_bytes


def test_it_opens_on_the_plan(place):
    terminal = place.open("tui", str(place.recipe))
    terminal.wait_for("7 new")
    for stage in ("source", "fan", "upper", "join"):
        terminal.wait_for(f" {stage} ")
    assert colours(terminal.bytes()).truecolor > 0
    terminal.send("q")
    assert terminal.wait() == 0
    assert not (place.folder / "cache" / "pipeline_state" / "runs").exists()


def test_run_on_a_terminal_is_the_same_screen_already_running(place):
    terminal = place.open("run", str(place.recipe))
    terminal.pass_results()
    assert "AR 2 ✓" in terminal.text()
    terminal.send("q")
    assert terminal.wait() == 0


# By key, a text that only its screen shows; None: the log, which is told by having no stages.
SCREENS = {
    "?": "Monitor",
    "C": "7 entries",
    "R": "STARTED",
    "p": "plan  toy.yaml",
    "L": None,
    "t": "Theme",
}


def is_at(shown, text):
    return "STAGE " not in text if shown is None else shown in text


def walk(terminal):
    """Look at many screens, then leave."""
    terminal.pass_results()
    terminal.wait_for("built, 0 cached")
    for key, shown in SCREENS.items():
        terminal.send(key)
        terminal.wait_for(lambda text, shown=shown: is_at(shown, text))
        terminal.escape()
        terminal.wait_for(lambda text, shown=shown: "STAGE " in text and not is_at(shown, text))
    terminal.send("q")
    assert terminal.wait() == 0


def test_no_color_means_no_colour(place):
    terminal = place.open("run", str(place.recipe), NO_COLOR="1")
    walk(terminal)
    assert colours(terminal.bytes()).any == 0


@pytest.mark.parametrize(("name", "palette"), [("xterm-16color", False), ("tmux-256color", True)])
def test_a_terminal_is_sent_the_colours_it_has(place, name, palette):
    terminal = place.open("run", str(place.recipe), TERM=name, COLORTERM="")
    walk(terminal)
    sent = colours(terminal.bytes())
    assert sent.truecolor == 0
    assert (sent.palette > 0) is palette
    assert sent.any > 0


@pytest.mark.parametrize("how", ["option", "locale"])
def test_ascii_is_ascii_on_every_screen(place, how):
    words, env = (
        (["--ascii"], {}) if how == "option" else ([], {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"})
    )
    terminal = place.open("tui", str(place.recipe), "--run", *words, **env)
    walk(terminal)
    text = shown_bytes(terminal.bytes())
    assert not [byte for byte in text if byte >= 0x80]
    assert b"\x1b" not in text
