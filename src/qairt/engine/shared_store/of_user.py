"""The shared store that this user's settings name."""

from __future__ import annotations

from functools import cache
from pathlib import Path

from qairt.engine.shared_store.open_objects import check_store
from qairt.engine.shared_store.settings import StoreSettings, store_settings
from qairt.engine.shared_store.shared_store import SharedStore


def store_of_user(state_folder: Path) -> SharedStore | None:
    """The store for one cache directory, or None; nothing is sent yet.

    Raises:
        RecipeError: the setting is invalid, or what it needs is not installed.
    """
    settings = store_settings()
    if settings is None:
        return None
    check_store(settings)
    return _opened(settings, state_folder)


@cache
def _opened(settings: StoreSettings, state_folder: Path) -> SharedStore:
    """One object for the whole process: it remembers answers, and whether the store is away."""
    return SharedStore(settings, state_folder)
