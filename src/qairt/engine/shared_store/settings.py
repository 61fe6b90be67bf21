"""Which store a user shares results through: `QAIRT_STORE`, or `store:` in the user's settings file.

store: s3://team-cache/qairt                    read only
store:
  url: file:/mnt/share/qairt
  mode: read-write
  allow_from: [ci-*, box7]
"""

from __future__ import annotations

import os
import re
from contextlib import suppress
from pathlib import Path
from typing import Literal
from urllib.parse import urlsplit

import yaml
from pydantic import ConfigDict, Field, ValidationError, field_validator

from qairt.errors import RecipeError
from qairt.files import read_text
from qairt.recipe.yaml_file import NotAMapping, describe_error, read_yaml
from qairt.settings_model import SettingsModel
from qairt.user_folder import config_folder

VARIABLE = "QAIRT_STORE"
CLOUDS = ("s3", "gs", "az")
SCHEMES = (*CLOUDS, "http", "https", "file")
_KINDS = "s3://…, gs://…, az://…, https://…, http://… or file:/…"


class StoreSettings(SettingsModel):
    """The store of a user."""

    model_config = ConfigDict(frozen=True)

    url: str
    mode: Literal["read", "read-write"] = "read"
    """Whether results of this machine go there."""
    allow_from: tuple[str, ...] = Field(default=())
    """Names of hosts, with `*`, whose results are used; empty: those of any host. The store's writers say who they are,
    so this guards against mistakes and not against a writer who lies."""

    @field_validator("url")
    @classmethod
    def _is_of_a_known_kind(cls, url: str) -> str:
        parts = urlsplit(url)
        if parts.username or parts.password or parts.query or parts.fragment:
            raise ValueError("credentials do not belong into the address but into the environment")
        if parts.scheme not in SCHEMES:
            raise ValueError(f"a store is {_KINDS}")
        if parts.scheme == "file" and (parts.netloc or not parts.path.startswith("/")):
            raise ValueError("the folder must be absolute, as in file:/mnt/share/qairt")
        if parts.scheme != "file" and not parts.netloc:
            raise ValueError(f"a store is {_KINDS}")
        return url.rstrip("/")

    @property
    def scheme(self) -> str:
        return urlsplit(self.url).scheme

    @property
    def folder(self) -> Path:
        """Of a `file:` store."""
        return Path(urlsplit(self.url).path)

    @property
    def writes(self) -> bool:
        return self.mode == "read-write"


def store_settings() -> StoreSettings | None:
    """The store of this user; None without one, and where `QAIRT_STORE` is `off`.

    Raises:
        RecipeError: the setting is invalid; names the variable, or file and line.
    """
    given = os.environ.get(VARIABLE, "").strip()
    if given:
        return None if given == "off" else _validated(_parsed(given), VARIABLE)
    try:
        file = read_yaml(config_folder() / "config.yaml")
    except FileNotFoundError:
        return None
    except NotAMapping as fault:
        _require_no_store(fault)
        return None
    stated = file.values.get("store")
    return None if stated is None else _validated(stated, f"{file.where(['store'])}: store")


def _require_no_store(fault: NotAMapping) -> None:
    """A settings file that is no YAML has no store, unless a line of it begins with `store:`."""
    with suppress(OSError, UnicodeDecodeError):
        if re.search(r"^store\s*:", read_text(config_folder() / "config.yaml"), re.MULTILINE) is None:
            return
    raise RecipeError(str(fault), remedy="mend it: it may name a shared store") from fault


def _parsed(text: str) -> object:
    """An address, or a mapping as in the file: `{url: …, mode: read-write}`."""
    if not text.startswith("{"):
        return text
    try:
        return yaml.safe_load(text)
    except yaml.YAMLError as error:
        raise RecipeError("it is not valid YAML", where=VARIABLE, remedy=_REMEDY) from error


def _validated(stated: object, where: str) -> StoreSettings:
    try:
        return StoreSettings.model_validate({"url": stated} if isinstance(stated, str) else stated)
    except ValidationError as error:
        first = error.errors()[0]
        secret = "credentials" in first["msg"]  # an address that holds one is not repeated
        problem = f"url: {first['ctx']['error']}" if secret else describe_error(first, StoreSettings)
        raise RecipeError(problem, where=where, remedy=_REMEDY) from error


_REMEDY = "write `store: {url: s3://bucket/folder, mode: read}`; the mode is read or read-write"
