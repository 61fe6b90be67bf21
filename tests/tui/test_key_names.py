"""Names of keys, remapping errors, and keys.md."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import pytest

from qairt.tui import key_names as key_names_module
from qairt.tui.key_names import effective, key_names, key_table_markdown, wrong_keys
from qairt.tui.keymap import KEYS, all_keys


@pytest.mark.parametrize(
    ("keys", "plain", "glyphs"),
    [
        ("question_mark", "?", "?"),
        ("ctrl+p,colon", "ctrl+p  :", "ctrl+p  :"),
        ("left,h", "left  h", "←  h"),
        ("pageup,ctrl+u", "pgup  ctrl+u", "pgup  ctrl+u"),
        ("escape", "esc", "esc"),
        ("plus", "+", "+"),
        ("underscore", "_", "_"),
        ("slash", "/", "/"),
        ("space", "space", "space"),
        ("shift+tab", "shift+tab", "shift+tab"),
        ("G", "G", "G"),
    ],
)
def test_keys_are_named_as_people_write_them(keys: str, plain: str, glyphs: str) -> None:
    assert key_names(keys) == plain
    assert key_names(keys, ascii=False) == glyphs


@pytest.mark.parametrize("scope", KEYS)
def test_plain_names_are_ascii(scope: str) -> None:
    assert all(key_names(key.keys).isascii() for key in KEYS[scope])


def test_a_dropped_clash_cannot_hide_another() -> None:
    # clear and why want the same key; the one that falls back to its default meets log, which took that default.
    wrong = wrong_keys({"item.clear": "ctrl+x", "item.why": "ctrl+x", "item.log": "w"})
    kept = {name: keys for name, keys in {"item.clear": "ctrl+x", "item.log": "w"}.items() if name not in wrong}
    taken = Counter(key for keys in effective("monitor", kept).values() for key in keys.split(","))
    assert [key for key, times in taken.items() if times > 1] == []
    assert "item.why" in wrong


def test_the_markdown_table_has_every_key() -> None:
    text = key_table_markdown()
    for _, key in all_keys():
        assert f"| `{key.id}` |" in text
    assert "| `?` | Show every key of this screen. | `global.help` |" in text
    assert all(line.count("|") in (0, 4) for line in text.replace("\\|", "").splitlines())


def test_keys_md_is_current() -> None:
    """`python -m qairt.tui.key_names` writes it."""
    assert Path(key_names_module.__file__).with_name("keys.md").read_text() == key_table_markdown()
