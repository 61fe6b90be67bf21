"""Keys under their names: what a user's remapping makes of the table, what is wrong with it, and how keys read."""

from __future__ import annotations

import string
from collections.abc import Mapping

from textual.keys import Keys, _character_to_key, format_key

from qairt.recipe.names import nearest
from qairt.tui.keymap import KEYS, all_keys

_MODIFIERS = ("ctrl", "shift", "alt", "meta", "super", "hyper")
_NAMED = {
    "space",
    *(key.value for key in Keys if not key.value.startswith("<")),
    *(_character_to_key(character) for character in string.printable if character.isprintable()),
}

SCOPES: dict[str, str] = {
    "global": "Everywhere",
    "monitor": "On the run's screen",
    "matrix": "Moving in the table of stages",
    "tree": "Moving in the recipe",
    "list": "Moving in lists and text",
    "plan": "Plan",
    "why": "Why an item runs",
    "log": "Log",
    "runs": "Runs",
    "compare": "Comparing runs",
    "cache": "Cache",
    "clear": "Asking before clearing",
    "confirm": "Asking before something is done",
    "help": "Help",
    "theme": "Choosing a theme",
}
"""What the scopes of the table are called on the screen and in the README."""


_SHOWN = {"escape": "esc", "pageup": "pgup", "pagedown": "pgdn", "enter": "enter", "backspace": "backspace"}
_ARROWS = {"left": "←", "right": "→", "up": "↑", "down": "↓"}


def key_names(keys: str, *, ascii: bool = True) -> str:
    """Keys as people write them: `question_mark,ctrl+p` is `?  ctrl+p`."""
    shown = _SHOWN | ({name: name for name in _ARROWS} if ascii else _ARROWS)
    return "  ".join("+".join(shown.get(part) or format_key(part) for part in _parts(key)) for key in _split(keys))


def effective(scope: str, remapped: Mapping[str, str]) -> dict[str, str]:
    """Keys of each id of a scope, after the user's remapping."""
    return {key.id: remapped.get(key.id, key.keys) for key in KEYS[scope]}


def wrong_keys(remapped: Mapping[str, str]) -> dict[str, str]:
    """What is wrong with a remapping, by id: an id or a key there is not, a key given twice in one scope."""
    known = [key.id for _, key in all_keys()]
    wrong: dict[str, str] = {}
    for name, keys in remapped.items():
        if name not in known:
            close = nearest(name, known)
            wrong[name] = f"keys.{name} is not an action; " + (
                f"did you mean {close}?" if close else "the help screen lists them"
            )
        elif unknown := [key for key in _split(keys) if not _exists(key)]:
            close = nearest(unknown[0].rpartition("+")[2], _NAMED)
            wrong[name] = f"keys.{name}: there is no key {unknown[0]!r}" + (f"; did you mean {close}?" if close else "")
    while True:
        sound = {name: keys for name, keys in remapped.items() if name not in wrong}
        clashes = {name: said for scope in KEYS for name, said in _clashes(scope, sound).items()}
        if not clashes:
            return wrong
        wrong |= clashes  # their actions have their default keys again, which may be taken


def _clashes(scope: str, remapped: Mapping[str, str]) -> dict[str, str]:
    """Remapped actions of a scope whose key another action of it has."""
    clashes: dict[str, str] = {}
    taken: dict[str, str] = {}
    for name, keys in sorted(effective(scope, remapped).items(), key=lambda pair: pair[0] in remapped):
        for key in map(_normal, _split(keys)):
            other = taken.setdefault(key, name)
            if other != name and name in remapped:
                clashes[name] = f"keys.{name}: {key_names(key)} already calls {other}; give one of them another key"
    return clashes


def _split(keys: str) -> list[str]:
    return [key.strip() for key in keys.split(",")]


def _normal(key: str) -> str:
    return _character_to_key(key) if len(key) == 1 else key


def _parts(key: str) -> list[str]:
    return [key] if key == "+" else key.split("+")


def _exists(key: str) -> bool:
    *modifiers, last = _parts(key)
    return all(name in _MODIFIERS for name in modifiers) and (
        last in _NAMED or (len(last) == 1 and last.isprintable() and last != " ")
    )


def key_table_markdown() -> str:
    """Every key with its default, its id and what it does, as Markdown tables for the README."""
    lines: list[str] = []
    for scope, keys in KEYS.items():
        lines += [f"### {SCOPES.get(scope, scope)}", "", "| key | what it does | id |", "|---|---|---|"]
        for key in keys:
            names = " ".join(f"`{name}`" for name in key_names(key.keys).split("  "))
            lines.append(f"| {names.replace('|', chr(92) + '|')} | {key.help} | `{key.id}` |")
        lines.append("")
    return "\n".join(lines)
