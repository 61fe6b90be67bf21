"""Opening a QAIRT SDK and finding out its version."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

from qairt.child_process import ending_with_parent
from qairt.errors import ToolchainNotAvailable
from qairt.files import read_regular
from qairt.toolchain.sdk.install import CONVERTER, INSTALL, PLATFORM, ROOT_VARIABLE, Sdk
from qairt.toolchain.sdk.process import tool_command
from qairt.toolchain.sdk.trust import is_trusted
from qairt.toolchain.vendor_process import ProcessExit

_VERSION = re.compile(r"(?<![\d.])(\d+\.\d+\.\d+(?:\.\d+)?)(?![\d.])")
_VERSION_IN_YAML = re.compile(r"^\s*version\s*:\s*[\"']?v?([\d.]+)", re.MULTILINE)
_VERSION_IN_HEADER = re.compile(r"QNN_SDK_BUILD_ID\s+\"v?(\d+\.\d+\.\d+(?:\.\d+)?)")
_TIMEOUT_S = 60


def open_sdk(root: Path | None) -> Sdk:
    """The SDK in a folder. Its version comes from its files and the folder's name; failing these, from the converter,
    which is started only in an SDK that the user trusts.

    Raises:
        ToolchainNotAvailable: `root` is None, does not exist, or is not an SDK.
    """
    if root is None:
        raise ToolchainNotAvailable(
            f"no QAIRT SDK is configured: neither sdk_root nor ${ROOT_VARIABLE} is set",
            where="sdk_root",
            remedy=INSTALL,
        )
    if not root.is_dir():
        raise ToolchainNotAvailable(f"the folder {root} does not exist", where="sdk_root", remedy=INSTALL)
    if not (root / "bin" / PLATFORM).is_dir():
        inner = sorted(path for path in root.glob("*") if (path / "bin" / PLATFORM).is_dir())
        raise ToolchainNotAvailable(
            f"{root} is not a QAIRT SDK for x86-64 Linux: it has no bin/{PLATFORM}",
            where="sdk_root",
            remedy=f"did you mean {inner[-1]}?" if inner else INSTALL,
        )
    version = version_in(root) or (_version_from_converter(root) if is_trusted(root) else "")
    return Sdk(root, version)


def version_in(root: Path) -> str:
    """The version in `sdk.yaml`, the folder's name or the headers; empty where there is none."""
    match = _VERSION_IN_YAML.search(_text_of(root / "sdk.yaml"))
    match = match or _VERSION.search(root.resolve().name)
    match = match or _VERSION_IN_HEADER.search(_text_of(root / "include" / "QNN" / "QnnSdkBuildId.h"))
    return match[1] if match else ""


def _text_of(path: Path) -> str:
    try:
        return read_regular(path).decode(errors="replace")
    except OSError:
        return ""


def start_converter(sdk: Sdk) -> ProcessExit:
    """Run `qairt-converter --version`, which loads the vendor's libraries into its Python: takes seconds.

    Raises:
        ToolchainNotAvailable: it cannot be started, or does not end.
    """
    command, environment = tool_command(sdk, CONVERTER, ["--version"], home=Path("/"))
    try:
        done = subprocess.run(
            command,
            env=environment,
            preexec_fn=ending_with_parent(),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=_TIMEOUT_S,
            check=False,
            errors="replace",
        )
    except (OSError, subprocess.SubprocessError) as error:
        raise ToolchainNotAvailable(
            f"{CONVERTER} does not answer: {error}", where=str(sdk.tools), remedy="install the SDK again"
        ) from error
    return ProcessExit(done.returncode, done.stdout.splitlines())


def _version_from_converter(root: Path) -> str:
    try:
        ended = start_converter(Sdk(root, ""))
    except ToolchainNotAvailable:
        return ""
    match = _VERSION.search("\n".join(ended.lines))
    return match[1] if match and ended.code == 0 else ""
