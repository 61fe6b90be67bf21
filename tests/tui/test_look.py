"""What the terminal can show decides the look; `NO_COLOR` over a real terminal sends no colour."""

from __future__ import annotations

import fcntl
import os
import pty
import re
import select
import struct
import subprocess
import sys
import termios
import time
from pathlib import Path

import pytest

from qairt.tui.look import choose_look
from qairt.tui.settings import UserSettings
from qairt.tui.terminal.glyphs import Look


def test_a_good_terminal_gets_everything() -> None:
    chosen = choose_look(UserSettings(), {"TERM": "xterm-256color"}, "utf-8")
    assert chosen.look == Look()
    assert (chosen.theme, chosen.ansi_color, chosen.refresh, chosen.reasons) == ("qairt-dark", None, 4.0, ())


@pytest.mark.parametrize("value", ["1", ""])
def test_no_color_takes_the_mono_theme_at_construction(value: str) -> None:
    chosen = choose_look(UserSettings(theme="qairt-light"), {"NO_COLOR": value}, "UTF-8")
    assert (chosen.theme, chosen.ansi_color) == ("mono", True)
    assert chosen.reasons == ("no colours, because NO_COLOR is set",)


@pytest.mark.parametrize("encoding", ["ascii", "ANSI_X3.4-1968", "iso8859-1", "", "nonsense"])
def test_without_a_utf8_locale_there_is_only_ascii(encoding: str) -> None:
    chosen = choose_look(UserSettings(), {}, encoding)
    assert chosen.look == Look(ascii=True, graph="ascii")
    assert len(chosen.reasons) == 1
    assert chosen.reasons[0].startswith("plain ASCII, because the locale's encoding is ")


def test_ascii_that_was_asked_for_needs_no_reason() -> None:
    chosen = choose_look(UserSettings(ascii=True, graph="braille"), {}, "utf-8")
    assert chosen.look == Look(ascii=True, graph="ascii")
    assert chosen.reasons == ()


def test_the_linux_console_draws_blocks_unless_told_otherwise() -> None:
    chosen = choose_look(UserSettings(), {"TERM": "linux"}, "utf-8")
    assert chosen.look.graph == "block"
    assert "TERM=linux" in chosen.reasons[0]
    assert choose_look(UserSettings(graph="braille"), {"TERM": "linux"}, "utf-8").look.graph == "braille"


def test_over_ssh_the_screen_is_refreshed_half_as_often_unless_told_otherwise() -> None:
    environ = {"SSH_CONNECTION": "10.0.0.1 1 10.0.0.2 22"}
    chosen = choose_look(UserSettings(), environ, "utf-8")
    assert chosen.refresh == 2.0
    assert chosen.reasons == ("2 refreshes per second, because this is an SSH connection",)
    assert choose_look(UserSettings(refresh=5), environ, "utf-8").refresh == 5


APP = """
import os, sys
from textual.app import App
from textual.widgets import Footer, Input, OptionList, Static
from qairt.tui.terminal.glyphs import MARKS
from qairt.tui.look import choose_look
from qairt.tui.screens.help import HelpScreen
from qairt.tui.settings import UserSettings
from qairt.tui.themes import VARIABLE_DEFAULTS, register_all

chosen = choose_look(UserSettings(theme=sys.argv[1]), os.environ, "utf-8")

class Host(App):
    CSS = "\\n".join(f"#{s} {{ color: $state-{s}; text-style: bold; border: solid $border; }}" for s in MARKS)
    BINDINGS = [("q", "quit", "Quit")]
    def get_theme_variable_defaults(self):
        return VARIABLE_DEFAULTS
    def compose(self):
        yield Input("text")
        yield OptionList("one", "two")
        for status in MARKS:
            yield Static(status, id=status)
        yield Footer(show_command_palette=False)
    def on_mount(self):
        register_all(self)
        self.theme = chosen.theme
        self.set_timer(0.4, lambda: self.push_screen(HelpScreen(["monitor"], chosen.look)))
        self.set_timer(1.0, self.exit)

Host(ansi_color=chosen.ansi_color).run()
"""


def drawn(tmp_path: Path, theme: str, **environ: str) -> bytes:
    """What a small app with every state, a list, an input and the help screen sends to a terminal."""
    script = tmp_path / "app.py"
    script.write_text(APP)
    ours, theirs = pty.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 40, 100, 0, 0))
    base = {name: value for name, value in os.environ.items() if name not in ("NO_COLOR", "COLORTERM", "TEXTUAL")}
    child = subprocess.Popen(
        [sys.executable, str(script), theme],
        stdin=theirs,
        stdout=theirs,
        stderr=theirs,
        env={**base, "TERM": "xterm-256color", "XDG_CONFIG_HOME": str(tmp_path), **environ},
        start_new_session=True,
    )
    os.close(theirs)
    sent, until = b"", time.monotonic() + 30
    while time.monotonic() < until:
        if not select.select([ours], [], [], 0.2)[0]:
            if child.poll() is not None:
                break
            continue
        try:
            sent += os.read(ours, 65536)
        except OSError:
            break
    os.close(ours)
    assert child.wait(timeout=10) == 0, sent.decode(errors="replace")[-3000:]
    return sent


def colour_codes(sent: bytes) -> list[int]:
    """Every colour of the SGR sequences; 39 and 49 give back the terminal's own."""
    codes: list[int] = []
    for match in re.finditer(rb"\x1b\[([\d;]*)m", sent):
        codes += [int(part or 0) for part in match[1].split(b";")]
    return [code for code in codes if 30 <= code <= 38 or 40 <= code <= 48 or 90 <= code <= 107]


def test_no_color_sends_no_colour_and_still_shows_states_and_cursors(tmp_path: Path) -> None:
    sent = drawn(tmp_path, "qairt-dark", NO_COLOR="1", COLORTERM="truecolor")
    assert b"interrupted" in sent
    assert b"Help" in sent
    assert colour_codes(sent) == []
    assert re.search(rb"\x1b\[[\d;]*\b7\b[\d;]*m", sent), "nothing is in reverse: the cursor cannot be seen"


def test_the_mono_theme_sends_no_hue_even_where_there_are_colours(tmp_path: Path) -> None:
    codes = colour_codes(drawn(tmp_path, "mono", COLORTERM="truecolor"))
    black_and_white = {base + shade for base in (30, 40, 90, 100) for shade in (0, 7)}  # Textual's cursor in an input
    assert set(codes) <= black_and_white


def test_with_colour_the_same_app_sends_truecolor(tmp_path: Path) -> None:
    assert 38 in colour_codes(drawn(tmp_path, "qairt-dark", COLORTERM="truecolor"))


def test_a_terminal_of_16_colours_gets_no_others(tmp_path: Path) -> None:
    sent = drawn(tmp_path, "qairt-dark", TERM="xterm-16color")
    assert {38, 48} & set(colour_codes(sent)) == set()
    assert colour_codes(sent)
