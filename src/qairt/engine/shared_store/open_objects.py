"""From an address to its objects, and what it takes: a package, credentials, a folder."""

from __future__ import annotations

import importlib.util
import os

from qairt.engine.shared_store.objects import Objects, Unavailable
from qairt.engine.shared_store.settings import CLOUDS, StoreSettings
from qairt.errors import RecipeError

_CREDENTIALS = {
    "s3": (
        "AWS_ACCESS_KEY_ID",
        "AWS_WEB_IDENTITY_TOKEN_FILE",
        "AWS_CONTAINER_CREDENTIALS_RELATIVE_URI",
        "AWS_CONTAINER_CREDENTIALS_FULL_URI",
        "AWS_METADATA_ENDPOINT",
        "AWS_SKIP_SIGNATURE",
    ),
    "gs": (
        "GOOGLE_APPLICATION_CREDENTIALS",
        "GOOGLE_SERVICE_ACCOUNT",
        "GOOGLE_SERVICE_ACCOUNT_PATH",
        "GOOGLE_SERVICE_ACCOUNT_KEY",
        "GOOGLE_SKIP_SIGNATURE",
    ),
    "az": (
        "AZURE_STORAGE_ACCOUNT_KEY",
        "AZURE_STORAGE_SAS_TOKEN",
        "AZURE_STORAGE_SAS_KEY",
        "AZURE_STORAGE_CLIENT_SECRET",
        "AZURE_CLIENT_SECRET",
        "AZURE_FEDERATED_TOKEN_FILE",
        "AZURE_STORAGE_TOKEN",
        "AZURE_SKIP_SIGNATURE",
    ),
}
"""Environment variables of which one is set where there are credentials. Without any, obstore would ask the cloud's
metadata address, which on any other machine is a stranger's or answers never."""


def check_store(settings: StoreSettings) -> None:
    """Check what is known before the store is used.

    Raises:
        RecipeError: obstore is missing, or the mode is impossible.
    """
    if settings.scheme in ("http", "https") and settings.writes:
        raise RecipeError(
            "a store behind HTTP can only be read: HTTP has no way to add an entry only if there is none",
            where=settings.url,
            remedy="write through s3://, gs://, az:// or file:/, and use mode: read here",
        )
    if settings.scheme != "file" and importlib.util.find_spec("obstore") is None:
        raise RecipeError(
            f"a {settings.scheme}:// store needs the package obstore, which is not installed",
            where=settings.url,
            remedy="pip install 'qairt[store]', or use a folder: file:/mnt/share/qairt",
        )


def open_objects(settings: StoreSettings) -> Objects:
    """The objects of a store; nothing is sent yet.

    Raises:
        RecipeError: as `check_store`.
        Unavailable: there are no credentials, or there is no such folder.
    """
    check_store(settings)
    if settings.scheme == "file":
        from qairt.engine.shared_store.folder_objects import FolderObjects

        return FolderObjects(settings.folder)
    if settings.scheme in CLOUDS and not any(name in os.environ for name in _CREDENTIALS[settings.scheme]):
        raise Unavailable(f"no credentials: set {_CREDENTIALS[settings.scheme][0]} and what belongs to it")
    from qairt.engine.shared_store.cloud_objects import CloudObjects

    return CloudObjects(settings.url)
