"""The store of a user: a variable before the file, and every fault with its place and remedy, never with a secret."""

from __future__ import annotations

from pathlib import Path

import pytest

from qairt.engine.shared_store.of_user import store_of_user
from qairt.engine.shared_store.settings import StoreSettings, store_settings
from qairt.errors import RecipeError

REMEDY = "write `store: {url: s3://bucket/folder, mode: read}`; the mode is read or read-write"


@pytest.fixture
def config(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))
    monkeypatch.delenv("QAIRT_STORE", raising=False)
    path = tmp_path / "qairt" / "config.yaml"
    path.parent.mkdir()
    return path


def test_no_store_is_the_default(config):
    assert store_settings() is None
    config.write_text("theme: mono\n")
    assert store_settings() is None
    assert store_of_user(config.parent) is None


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("store: s3://team/qairt/\n", StoreSettings(url="s3://team/qairt")),
        (
            "store:\n  url: file:/mnt/share\n  mode: read-write\n  allow_from: [ci-*, box7]\n",
            StoreSettings(url="file:/mnt/share", mode="read-write", allow_from=("ci-*", "box7")),
        ),
    ],
)
def test_the_file(config, text, expected):
    config.write_text(text)
    assert store_settings() == expected


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("gs://team", StoreSettings(url="gs://team")),
        ("{url: az://team/x, mode: read-write}", StoreSettings(url="az://team/x", mode="read-write")),
        ("off", None),
    ],
)
def test_the_variable_replaces_the_file(config, monkeypatch, value, expected):
    config.write_text("store: file:/mnt/share\n")
    monkeypatch.setenv("QAIRT_STORE", value)
    assert store_settings() == expected
    monkeypatch.setenv("QAIRT_STORE", "")
    assert store_settings() == StoreSettings(url="file:/mnt/share")


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        (
            "ftp://host/x",
            "url: a store is s3://…, gs://…, az://…, https://…, http://… or file:/…, not 'ftp://host/x'",
        ),
        ("file:mnt/x", "url: the folder must be absolute, as in file:/mnt/share/qairt, not 'file:mnt/x'"),
        ("{url: s3://b, mode: write}", "mode: input should be 'read' or 'read-write', not 'write'"),
        ("{url: s3://b, mod: read}", "mod is not known; did you mean mode?"),
        ("{mode: read}", "url is missing"),
        ("s3://id:hush@bucket", "url: credentials do not belong into the address but into the environment"),
        ("ftp://id:hush@bucket", "url: credentials do not belong into the address but into the environment"),
        ("https://host/x?sig=hush", "url: credentials do not belong into the address but into the environment"),
    ],
)
def test_faults(config, monkeypatch, text, problem):
    config.write_text(f"theme: mono\nstore: {text}\n")
    with pytest.raises(RecipeError) as error:
        store_settings()
    assert (error.value.what, error.value.where, error.value.remedy) == (problem, f"{config}:2: store", REMEDY)
    assert "hush" not in error.value.what
    monkeypatch.setenv("QAIRT_STORE", text)
    with pytest.raises(RecipeError) as error:
        store_settings()
    assert (error.value.what, error.value.where) == (problem, "QAIRT_STORE")


def test_a_file_that_cannot_be_read(config):
    config.write_text("theme: [\n")
    assert store_settings() is None  # it sets no store; the screen tells what is wrong with it
    config.write_text("theme: [\nstore: s3://b\n")
    with pytest.raises(RecipeError) as error:
        store_settings()
    assert error.value.what.startswith(f"{config}:3: is not valid YAML: ")
    assert error.value.remedy == "mend it: it may name a shared store"


def test_what_cannot_work_is_told_before_work_starts(config, monkeypatch):
    monkeypatch.setenv("QAIRT_STORE", "{url: https://host/x, mode: read-write}")
    with pytest.raises(RecipeError) as error:
        store_of_user(config.parent)
    assert str(error.value) == (
        "https://host/x: a store behind HTTP can only be read: HTTP has no way to add an entry only if there is none\n"
        "  write through s3://, gs://, az:// or file:/, and use mode: read here"
    )
    monkeypatch.setenv("QAIRT_STORE", "s3://bucket")
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(RecipeError) as error:
        store_of_user(config.parent)
    assert str(error.value) == (
        "s3://bucket: a s3:// store needs the package obstore, which is not installed\n"
        "  pip install 'qairt[store]', or use a folder: file:/mnt/share/qairt"
    )
    monkeypatch.setenv("QAIRT_STORE", f"file:{config.parent}")
    assert store_of_user(config.parent) is not None
