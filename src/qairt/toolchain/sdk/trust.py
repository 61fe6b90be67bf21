"""Which SDKs this user lets run: those that the environment names, and those in the folders of `qairt trust`.

A recipe may come from anybody, and with it a folder that looks like an SDK. Its programs would run as this user.
"""

from __future__ import annotations

import os
import shlex
from pathlib import Path

from qairt.errors import ToolchainNotAvailable
from qairt.files import read_text, write_atomic
from qairt.toolchain.sdk.install import ROOT_VARIABLE, root_of_environment
from qairt.user_folder import config_folder


def trust_file() -> Path:
    """One trusted folder a line."""
    return config_folder() / "trusted-sdks"


def trusted_folders() -> list[Path]:
    """The folders of `qairt trust`, sorted."""
    try:
        lines = read_text(trust_file()).splitlines()
    except (OSError, UnicodeDecodeError):
        return []
    return sorted({Path(line) for line in lines if os.path.isabs(line)})


def trust(folder: Path) -> Path:
    """Let the SDKs in `folder` run from now on, whichever recipe names them; returns its real path.

    Raises:
        OSError: the list cannot be written.
    """
    real = Path(os.path.realpath(folder))
    _write([*trusted_folders(), real])
    return real


def distrust(folder: Path) -> bool:
    """Take a folder off the list; False where it was not on it."""
    before = trusted_folders()
    after = [each for each in before if each not in (folder, Path(os.path.realpath(folder)))]
    if after != before:
        _write(after)
    return after != before


def is_trusted(root: Path) -> bool:
    """Whether programs of the SDK in `root` may run."""
    real = Path(os.path.realpath(root))
    named = root_of_environment()
    if named is not None and real == Path(os.path.realpath(named)):
        return True
    return any(real.is_relative_to(folder) for folder in trusted_folders())


def refusal(root: Path) -> ToolchainNotAvailable:
    """The error for an SDK that is not trusted."""
    return ToolchainNotAvailable(
        f"the recipe names the SDK in {root}, and its programs run with your rights only if you trust them",
        where="sdk_root",
        remedy=f"if you do: qairt trust {shlex.quote(str(root))}   (or set {ROOT_VARIABLE} to it)",
    )


def require_trusted(root: Path) -> None:
    """
    Raises:
        ToolchainNotAvailable: it is not trusted; names the command that trusts it.
    """
    if not is_trusted(root):
        raise refusal(root)


def _write(folders: list[Path]) -> None:
    write_atomic(trust_file(), "".join(f"{folder}\n" for folder in sorted(set(folders))))
