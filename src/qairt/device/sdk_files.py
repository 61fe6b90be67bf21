"""What a device needs of the vendor's SDK: a program, its libraries, and the NPU's own."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

from qairt.device.facts import WINDOWS, DeviceFacts
from qairt.errors import ToolchainNotAvailable
from qairt.toolchain.soc import Soc

GENIE = "genie-t2t-run"
NET_RUN = "qnn-net-run"
TOOL = "tool"
"""The folder on the device that they all go to."""

_LIBRARIES = {
    GENIE: ("Genie", "QnnHtp", "QnnHtpNetRunExtensions", "QnnSystem"),
    NET_RUN: ("QnnHtp", "QnnHtpNetRunExtensions", "QnnSystem"),
}
_IF_THERE = ("QnnHtpPrepare",)
"""Needed only for graphs that are compiled on the device; some versions of the runtime look for it all the same."""

_PLATFORMS = {
    "android": ("aarch64-android",),
    "ubuntu": ("aarch64-ubuntu-gcc9.4", "aarch64-oe-linux-gcc11.2", "aarch64-oe-linux-gcc9.3"),
    "linux": ("aarch64-oe-linux-gcc11.2", "aarch64-oe-linux-gcc9.3", "aarch64-ubuntu-gcc9.4"),
    WINDOWS: ("aarch64-windows-msvc", "arm64x-windows-msvc"),
}


def sdk_files(root: Path, tools: Sequence[str], facts: DeviceFacts, soc: Soc) -> dict[str, Path]:
    """Files of the SDK that a device needs, by their names on it.

    Args:
        root: of the SDK.
        tools: programs, such as `GENIE`.
        soc: the device's chip.

    Raises:
        ToolchainNotAvailable: some are missing or a program may not be executed; names each and says what to do.
    """
    platform = _platform(root, facts)
    libraries, programs = root / "lib" / platform, root / "bin" / platform
    names = [*(name for tool in tools for name in _LIBRARIES[tool]), f"QnnHtpV{soc.htp}Stub"]
    needed = [programs / _program(tool, facts) for tool in tools]
    needed += [libraries / library_name(name, facts) for name in names]
    unsigned = root / "lib" / f"hexagon-v{soc.htp}" / "unsigned"
    needed.append(unsigned / f"libQnnHtpV{soc.htp}Skel.so")
    if facts.system == WINDOWS:  # which loads nothing onto the NPU without a signature
        needed.append(unsigned / f"libqnnhtpv{soc.htp}.cat")
    found = {f"{TOOL}/{path.name}": path for path in needed}
    missing = [str(path.relative_to(root)) for path in found.values() if not path.is_file()]
    if missing:
        raise ToolchainNotAvailable(
            f"the SDK lacks what {soc.name} (HTP v{soc.htp}) needs: {', '.join(missing)}",
            where=str(root),
            remedy="install the full QAIRT SDK of a version that supports this chip, and set QAIRT_SDK_ROOT to it",
        )
    unreadable = [str(path.relative_to(root)) for path in found.values() if not os.access(path, os.R_OK)]
    if unreadable:
        raise ToolchainNotAvailable(
            f"these files of the SDK may not be read: {', '.join(unreadable)}",
            where=str(root),
            remedy=f"chmod -R a+rX {root}",
        )
    for name in _IF_THERE:
        path = libraries / library_name(name, facts)
        if path.is_file():
            found[f"{TOOL}/{path.name}"] = path
    return found


def library_name(name: str, facts: DeviceFacts) -> str:
    """The file of a library on a device's system: `libQnnHtp.so`, `QnnHtp.dll`."""
    return f"{name}.dll" if facts.system == WINDOWS else f"lib{name}.so"


def _program(tool: str, facts: DeviceFacts) -> str:
    return f"{tool}.exe" if facts.system == WINDOWS else tool


def _platform(root: Path, facts: DeviceFacts) -> str:
    """The SDK's folder for a device's system."""
    kind = facts.system if facts.system in _PLATFORMS else "ubuntu" if facts.release == "ubuntu" else "linux"
    names = _PLATFORMS[kind]
    return next((name for name in names if (root / "lib" / name).is_dir()), names[0])
