"""The device that a user selects, and the recipe's folder on it."""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from qairt.errors import DeviceError

if TYPE_CHECKING:
    from qairt.device.base import Device

DeviceKind = Literal["device", "ssh"]
"""device: Android by adb. ssh: Linux on Arm, and Windows on Arm with Git for Windows."""

_OUR_FOLDER = "qairt"
_SAFE_PATH = re.compile(r"[\w.+/]([\w.+/ -]*[\w.+/-])?", re.ASCII)


@dataclass(frozen=True)
class DeviceSelection:
    """The device that a user selects."""

    kind: DeviceKind
    name: str | None = None
    """`SERIAL@HOST` or `USER@HOST`; None for the only one that adb knows."""
    folder: str | None = None
    """The parent of our folder on it; the default when None."""

    @classmethod
    def parse(cls, name: str | None) -> DeviceSelection:
        """`SERIAL@HOST` for adb or `ssh:USER@HOST`, where the kind is not given separately."""
        if name is not None and name.startswith("ssh:"):
            return cls("ssh", name.removeprefix("ssh:"))
        return cls("device", name)

    def open(self) -> Device:
        """
        Raises:
            DeviceError: it cannot be reached, or is not ready.
        """
        if self.kind == "ssh":
            from qairt.device.ssh import find_host

            return find_host(self.name)
        from qairt.device.adb import find_device

        return find_device(self.name)

    def recipe_folder(self, recipe: str, state_folder: Path) -> str:
        """The folder of a recipe on the device. Recipes of the same name in different cache directories get different
        ones.

        Raises:
            DeviceError: the given folder has characters that a shell would interpret.
        """
        from qairt.device.adb import HOME

        if self.folder is not None and not _SAFE_PATH.fullmatch(self.folder):
            raise DeviceError(
                "the path of a folder on a device may have letters, digits, spaces and . _ - + /",
                where=f"--device-folder {self.folder}",
                remedy=f"the default is {HOME if self.kind == 'device' else 'the home folder'}",
            )
        parent = self.folder or (HOME if self.kind == "device" else "")
        suffix = hashlib.sha256(str(state_folder.absolute()).encode()).hexdigest()[:8]
        name = re.sub(r"[^\w.-]", "_", recipe, flags=re.ASCII)
        return "/".join(filter(None, [parent.rstrip("/"), _OUR_FOLDER, f"{name}-{suffix}"]))
