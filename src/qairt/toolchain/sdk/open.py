"""Opening a QAIRT SDK: its version and its tools."""

from __future__ import annotations

import subprocess
from pathlib import Path

from qairt.errors import ToolchainNotAvailable
from qairt.toolchain.sdk.place import _IN_YAML, _SECONDS, _VERSION, CONVERTER, INSTALL, PLATFORM, ROOT_VARIABLE, Sdk
from qairt.toolchain.vendor_process import Ended


def open_sdk(root: Path | None) -> Sdk:
    """The SDK in a folder, with the version that its `sdk.yaml`, its folder's name or its converter says.

    Raises:
        ToolchainNotAvailable: no folder is named, it does not exist, or it is not an SDK's.
    """
    if root is None:
        raise ToolchainNotAvailable(
            f"no QAIRT SDK is named: neither sdk_root nor ${ROOT_VARIABLE} is set", where="sdk_root", remedy=INSTALL
        )
    if not root.is_dir():
        raise ToolchainNotAvailable(f"there is no folder {root}", where="sdk_root", remedy=INSTALL)
    if not (root / "bin" / PLATFORM).is_dir():
        inner = sorted(path for path in root.glob("*") if (path / "bin" / PLATFORM).is_dir())
        raise ToolchainNotAvailable(
            f"{root} holds no QAIRT SDK for x86-64 Linux: there is no bin/{PLATFORM}",
            where="sdk_root",
            remedy=f"did you mean {inner[-1]}?" if inner else INSTALL,
        )
    return Sdk(root, version_in(root) or asked_version(root))


def version_in(root: Path) -> str:
    """What `sdk.yaml` or the folder's name says; empty where neither does."""
    try:
        match = _IN_YAML.search((root / "sdk.yaml").read_text(errors="replace"))
    except OSError:
        match = None
    match = match or _VERSION.search(root.resolve().name)
    return match[1] if match else ""


def asked_version(root: Path) -> str:
    """What `qairt-converter --version` says; empty where it does not run."""
    try:
        ended = start_converter(Sdk(root, ""))
    except ToolchainNotAvailable:
        return ""
    match = _VERSION.search("\n".join(ended.lines))
    return match[1] if match and ended.code == 0 else ""


def start_converter(sdk: Sdk) -> Ended:
    """Run `qairt-converter --version`, which loads the vendor's libraries into its Python: seconds.

    Raises:
        ToolchainNotAvailable: it cannot be started, or does not end.
    """
    from qairt.toolchain.sdk.process import prepared

    command, environment = prepared(sdk, CONVERTER, ["--version"], home=Path("/"))
    try:
        done = subprocess.run(
            command,
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=_SECONDS,
            check=False,
            errors="replace",
        )
    except (OSError, subprocess.SubprocessError) as error:
        raise ToolchainNotAvailable(
            f"{CONVERTER} does not answer: {error}", where=str(sdk.tools), remedy="install the SDK again"
        ) from error
    return Ended(done.returncode, done.stdout.splitlines())
