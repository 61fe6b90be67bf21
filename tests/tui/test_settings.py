"""Settings: flags before variables before the file; each fault is a sentence with its place, and the rest counts."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from qairt.tui.settings import UserSettings, config_file, load_settings, save_theme

THEMES = ("qairt-dark", "qairt-light", "mono")


@pytest.fixture(autouse=True)
def config(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))
    for name in [name for name in os.environ if name.startswith("QAIRT_")]:
        monkeypatch.delenv(name)
    path = tmp_path / "qairt" / "config.yaml"
    path.parent.mkdir()
    assert config_file() == path
    return path


def test_without_a_file_the_defaults_hold(config: Path) -> None:
    assert load_settings() == (UserSettings(), [])
    config.write_text("# nothing yet\n")
    assert load_settings() == (UserSettings(), [])


def test_everything_can_be_set_in_the_file(config: Path) -> None:
    config.write_text(
        "theme: qairt-light\nascii: true\ngraph: block\nrefresh: 2\nmouse: 'off'\neditor: vim -n\n"
        "notify: bell\nnotify_command: notify-send qairt\n"
        "keys:\n  item.clear: ctrl+x\n  global.help: 'f1,?'\n"
        "store: file:/mnt/share\n"
    )
    settings, problems = load_settings(themes=THEMES)
    assert problems == []
    assert settings.model_dump() == {
        "theme": "qairt-light",
        "ascii": True,
        "graph": "block",
        "refresh": 2,
        "mouse": "off",
        "editor": "vim -n",
        "notify": "bell",
        "notify_command": "notify-send qairt",
        "keys": {"item.clear": "ctrl+x", "global.help": "f1,?"},
        "store": "file:/mnt/share",
    }


def test_flags_go_before_variables_before_the_file(config: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    config.write_text("theme: mono\nrefresh: 1\ngraph: block\n")
    monkeypatch.setenv("QAIRT_THEME", "qairt-light")
    monkeypatch.setenv("QAIRT_REFRESH", "2")
    monkeypatch.setenv("QAIRT_ASCII", "1")
    settings, problems = load_settings({"refresh": 3, "graph": None}, THEMES)
    assert problems == []
    assert (settings.theme, settings.refresh, settings.graph, settings.ascii) == ("qairt-light", 3, "block", True)


def test_an_empty_variable_is_as_none(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("QAIRT_REFRESH", "")
    assert load_settings() == (UserSettings(), [])


@pytest.mark.parametrize(
    ("text", "line", "said"),
    [
        ("teme: mono\n", 1, "teme is not known; did you mean theme?"),
        (
            "\nzzz: 1\n",
            2,
            "zzz is not known; known are theme, ascii, graph, refresh, mouse, editor, notify, notify_command, keys",
        ),
        ("graph: brail\n", 1, "graph: input should be 'braille', 'block' or 'ascii', not 'brail'"),
        ("refresh: fast\n", 1, "refresh: input should be a valid number"),
        ("refresh: 0\n", 1, "refresh: input should be greater than or equal to 0.1, not 0"),
        ("refresh: .nan\n", 1, "refresh: "),
        ("theme: [mono]\n", 1, "theme: input should be a valid string, not a list"),
        ("theme: qairt-drak\n", 1, "there is no theme 'qairt-drak'; did you mean qairt-dark?"),
        ("theme: xyz\n", 1, "there is no theme 'xyz'; choose one of mono, qairt-dark, qairt-light"),
        ("keys:\n  item.cler: x\n", 2, "keys.item.cler is not an action; did you mean item.clear?"),
        ("keys:\n  item.clear: x\n", 2, "keys.item.clear: x is already used by item.cancel; choose another key"),
        ("keys:\n  item.clear: ctrl+escpe\n", 2, "there is no key 'ctrl+escpe'; did you mean escape?"),
        ("keys:\n  item.clear: ''\n", 2, "there is no key ''"),
        ("keys:\n  item.clear: 7\n", 2, "keys.item.clear: input should be a valid string, not 7"),
        ("keys: ctrl+x\n", 1, "keys: input should be a valid dictionary, not 'ctrl+x'"),
        ("theme: mono\ntheme: mono\n", 2, "theme is set twice, first on line 1"),
        ("theme: [\n", 2, "is not valid YAML"),
        ("just text\n", 1, "should consist of KEY: VALUE lines"),
        ("1: 2\n", 1, "should consist of KEY: VALUE lines"),
    ],
)
def test_a_fault_is_told_with_its_line_and_the_default_holds(config: Path, text: str, line: int, said: str) -> None:
    config.write_text(text)
    settings, problems = load_settings(themes=THEMES)
    assert settings == UserSettings()
    assert len(problems) == 1
    assert problems[0].startswith(f"{config}:{line}: ")
    assert said in problems[0]


def test_what_is_right_holds_beside_what_is_wrong(config: Path) -> None:
    config.write_text(
        "theme: mono\nmice: off\nrefresh: fast\nkeys:\n  item.clear: ctrl+x\n  run.undo: nokey\n  log.next: 3.5\n"
    )
    settings, problems = load_settings(themes=THEMES)
    assert settings.theme == "mono"
    assert settings.keys == {"item.clear": "ctrl+x"}
    assert sorted(int(problem.removeprefix(f"{config}:").split(":")[0]) for problem in problems) == [2, 3, 6, 7]


def test_a_wrong_variable_is_named_and_the_file_counts_instead(config: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    config.write_text("refresh: 2\n")
    monkeypatch.setenv("QAIRT_REFRESH", "often")
    settings, problems = load_settings()
    assert settings.refresh == 2
    assert len(problems) == 1
    assert problems[0].startswith("QAIRT_REFRESH: refresh: input should be a valid number")


def test_a_wrong_flag_is_named() -> None:
    settings, problems = load_settings({"theme": "mon"}, THEMES)
    assert settings.theme == "qairt-dark"
    assert problems == ["--theme: there is no theme 'mon'; did you mean mono?"]


def test_swapping_two_keys_is_no_clash(config: Path) -> None:
    config.write_text("keys: {item.clear: w, item.why: c}\n")
    settings, problems = load_settings()
    assert problems == []
    assert settings.keys == {"item.clear": "w", "item.why": "c"}


def test_a_key_given_to_two_actions_by_the_user_is_told_once(config: Path) -> None:
    config.write_text("keys: {item.clear: ctrl+x, item.why: ctrl+x}\n")
    settings, problems = load_settings()
    assert len(problems) == 1
    assert len(settings.keys) == 1


def test_a_file_that_cannot_be_read_is_told(config: Path) -> None:
    config.mkdir()
    settings, problems = load_settings()
    assert settings == UserSettings()
    assert problems == [f"{config}: cannot be read: Is a directory; the defaults are used"]


@pytest.mark.parametrize(
    ("before", "after"),
    [
        (None, "theme: mono\n"),
        ("", "theme: mono\n"),
        ("# mine\n", "# mine\ntheme: mono\n"),
        ("refresh: 2 # slow line\n", "theme: mono\nrefresh: 2 # slow line\n"),
        ("# a\nascii: true\n\ntheme: 'qairt-light'  # bright\nrefresh: 2\n", None),
        ("theme:\nrefresh: 2\n", "theme: mono\nrefresh: 2\n"),
        ("{theme: qairt-light, refresh: 2}\n", "{theme: mono, refresh: 2}\n"),
        ("{refresh: 2}\n", "{theme: mono, refresh: 2}\n"),
        ("---\nrefresh: 2\n", "---\ntheme: mono\nrefresh: 2\n"),
    ],
)
def test_keeping_a_theme_changes_one_line(config: Path, before: str | None, after: str | None) -> None:
    if before is not None:
        config.write_text(before)
    assert save_theme("mono") == f"saved theme mono in {config}"
    expected = after or "# a\nascii: true\n\ntheme: mono  # bright\nrefresh: 2\n"
    assert config.read_text() == expected
    assert load_settings()[0].theme == "mono"


def test_a_linked_settings_file_stays_a_link(config: Path, tmp_path: Path) -> None:
    real = tmp_path / "dotfiles.yaml"
    real.write_text("refresh: 2\n")
    config.symlink_to(real)
    save_theme("mono")
    assert config.is_symlink()
    assert real.read_text() == "theme: mono\nrefresh: 2\n"


def test_a_broken_settings_file_is_left_as_it_is(config: Path) -> None:
    config.write_text("theme: [\n")
    assert save_theme("mono").startswith(f"the theme was not saved: {config}:2: is not valid YAML")
    assert config.read_text() == "theme: [\n"


def test_a_folder_that_cannot_be_made_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "file"))
    assert save_theme("mono").startswith("the theme was not saved: ")
