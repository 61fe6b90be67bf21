"""A user's settings: command-line flags, then `QAIRT_…` variables, then `$XDG_CONFIG_HOME/qairt/config.yaml`.

An invalid setting is reported in a sentence, and the app starts with its default.
"""

from __future__ import annotations

import os
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Annotated, Literal

import yaml
from pydantic import ConfigDict, Field, ValidationError

from qairt.files import write_atomic
from qairt.recipe.names import nearest
from qairt.recipe.yaml_file import NotAMapping, YamlFile, describe_error, read_yaml
from qairt.settings_model import SettingsModel
from qairt.tui.key_names import wrong_keys
from qairt.tui.terminal.glyphs import GraphStyle
from qairt.tui.terminal.notice import NotifyBy
from qairt.tui.themes import DEFAULT_THEME
from qairt.user_folder import config_folder

_PREFIX = "QAIRT_"
"""Of the environment variables that are settings."""


class UserSettings(SettingsModel):
    """How the terminal interface behaves for this user."""

    model_config = ConfigDict(frozen=True)

    theme: str = DEFAULT_THEME
    ascii: bool = False
    """Write only ASCII characters."""
    graph: GraphStyle | None = None
    """Characters that graphs are drawn with; None: braille if the terminal has it."""
    refresh: Annotated[float, Field(ge=0.1, le=30)] | None = None
    """Screen refreshes per second; None: 4, or 2 over SSH."""
    mouse: Literal["auto", "off"] = "auto"
    editor: str | None = None
    """For editing recipes; None: `$VISUAL` or `$EDITOR`."""
    notify: NotifyBy = "auto"
    """How the end of a run that took a minute or more is announced: `auto`, `bell` or `off`."""
    notify_command: str | None = None
    """A shell command run then as well; `$1` is the sentence, `$QAIRT_STATE` is done or failed."""
    keys: dict[str, str] = Field(default_factory=dict)
    """Keys by action id: `{item.clear: ctrl+x}`."""
    store: object = None
    """Where results are shared: `qairt.engine.shared_store.settings` reads and checks it."""


def config_file() -> Path:
    """The user's settings file, whether it exists or not."""
    return config_folder() / "config.yaml"


def load_settings(
    flags: Mapping[str, object] | None = None, themes: Collection[str] = ()
) -> tuple[UserSettings, list[str]]:
    """The effective settings, and a sentence with file and line for each invalid one.

    Args:
        flags: settings given on the command line; None counts as not given.
        themes: names of all themes, to check the chosen one against.
    """
    problems: list[str] = []
    try:
        file = read_yaml(config_file())
    except FileNotFoundError:
        file = YamlFile(config_file())
    except NotAMapping as fault:
        file = YamlFile(config_file())
        problems.append(f"{fault}; the defaults are used")
    sources = _Sources(
        flags={name: value for name, value in (flags or {}).items() if value is not None},
        variables={name: value for name in UserSettings.model_fields if (value := os.environ.get(_variable(name)))},
        file=file,
    )
    settings = UserSettings()
    while True:
        try:
            settings = UserSettings.model_validate(sources.merged())
        except ValidationError as error:
            problems += sources.refuse(error)
        else:
            break
    if themes and settings.theme not in themes:
        close = nearest(settings.theme, themes)
        remedy = f"did you mean {close}?" if close else f"choose one of {', '.join(sorted(themes))}"
        problems.append(f"{sources.where(['theme'])}: there is no theme {settings.theme!r}; {remedy}")
        settings = settings.model_copy(update={"theme": DEFAULT_THEME})
    wrong = wrong_keys(settings.keys)
    problems += [f"{sources.where(['keys', name])}: {problem}" for name, problem in wrong.items()]
    keys = {name: keys for name, keys in settings.keys.items() if name not in wrong}
    return settings.model_copy(update={"keys": keys}), problems


def _variable(name: str) -> str:
    return _PREFIX + name.upper()


class _Sources:
    """Settings by source, in order of precedence."""

    def __init__(self, flags: dict[str, object], variables: dict[str, object], file: YamlFile) -> None:
        self._flags = flags
        self._variables = variables
        self._file = file
        self._values = dict(file.values)

    def merged(self) -> dict[str, object]:
        return {**self._values, **self._variables, **self._flags}

    def where(self, path: Sequence[object]) -> str:
        """The source of a setting: the flag, the variable, or `file:line`."""
        name = str(path[0])
        if name in self._flags:
            return f"--{name}"
        return _variable(name) if name in self._variables else self._file.where(path)

    def refuse(self, error: ValidationError) -> list[str]:
        """Drop the invalid settings; returns a sentence for each."""
        problems: dict[str, str] = {}
        for found in error.errors():
            path = [step for step in found["loc"] if step != "[key]"]
            where = self.where(path)
            problems.setdefault(where + ".".join(map(str, path)), f"{where}: {describe_error(found, UserSettings)}")
        for steps in {tuple(map(str, found["loc"][:2])) for found in error.errors()}:
            self._drop(steps)
        return list(problems.values())

    def _drop(self, path: tuple[str, ...]) -> None:
        name = path[0]
        source = next(each for each in (self._flags, self._variables, self._values) if name in each)
        keys = source[name]
        if name == "keys" and len(path) > 1 and isinstance(keys, dict):
            source[name] = {key: value for key, value in keys.items() if str(key) != path[1]}
        else:
            del source[name]


def save_theme(name: str) -> str:
    """Write `theme: name` into the settings file and leave the rest unchanged. Returns a sentence with the outcome."""
    path = config_file()
    try:
        file = read_yaml(path)
    except FileNotFoundError:
        file = YamlFile(path)
    except NotAMapping as fault:
        return f"the theme was not saved: {fault}"
    changed = _with_theme(file.text, name)
    if yaml.safe_load(changed) != {**file.values, "theme": name}:
        return f"the theme was not saved: write `theme: {name}` into {path} yourself"
    try:
        write_atomic(path.resolve(), changed)  # keep a symbolic link
    except OSError as fault:
        return f"the theme was not saved: {path}: {fault.strerror or fault}"
    return f"saved theme {name} in {path}"


def _with_theme(text: str, name: str) -> str:
    root = yaml.compose(text, Loader=yaml.SafeLoader)
    if not isinstance(root, yaml.MappingNode):
        return f"{text.rstrip()}\ntheme: {name}\n".lstrip("\n")
    for key, value in root.value:
        if key.value == "theme":
            before, after = text[: value.start_mark.index], text[value.end_mark.index :]
            gap = " " if before.endswith(":") else ""
            return f"{before}{gap}{name}{after}"
    start = root.start_mark.index
    if root.flow_style:
        return f"{text[: start + 1]}theme: {name}, {text[start + 1 :]}"
    return f"{text[:start]}theme: {name}\n{text[start:]}"
