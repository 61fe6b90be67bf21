"""A QAIRT SDK on this machine: where it is, its version, its tools, and the Python that they run with.

Nothing here starts a tool of the SDK but `start_converter`; `open_sdk` needs that only for an SDK that says its version
nowhere else.

Source: the layout is that of the public documentation ("Set up Qualcomm AI Runtime SDK"): tools in
`bin/x86_64-linux-clang`, libraries in `lib/x86_64-linux-clang`, Python 3.10, a folder named by the version.
"""

from __future__ import annotations

import os
import re
import subprocess
from dataclasses import dataclass
from pathlib import Path

from qairt.errors import ToolchainNotAvailable
from qairt.toolchain.qnn_config import EXTENSIONS
from qairt.toolchain.vendor_process import Ended

ROOT_VARIABLE = "QAIRT_SDK_ROOT"
PLATFORM = "x86_64-linux-clang"
CONVERTER, QUANTIZER, GENERATOR = "qairt-converter", "qairt-quantizer", "qnn-context-binary-generator"
TOOLS = (CONVERTER, QUANTIZER, GENERATOR)
BACKEND, MODEL = "libQnnHtp.so", "libQnnModelDlc.so"
LIBRARIES = (BACKEND, MODEL, EXTENSIONS)
OLDEST, NEWEST = (2, 31), (2, 51)
"""Versions whose public documentation and reports show these commands. The newest is that of the wheel, which reads
back what the tools wrote."""
INSTALL = (
    "install the Qualcomm AI Runtime SDK (softwarecenter.qualcomm.com) and set QAIRT_SDK_ROOT to its folder, the one "
    "that holds bin/ and lib/; or write toolchain: qnn, which needs none"
)
_VERSION = re.compile(r"(?<![\d.])(\d+\.\d+\.\d+(?:\.\d+)?)(?![\d.])")
_IN_YAML = re.compile(r"^\s*version\s*:\s*[\"']?v?([\d.]+)", re.MULTILINE)
_SECONDS = 60


@dataclass(frozen=True)
class Sdk:
    """One SDK. Its folder exists; whether it is complete, `qairt.toolchain.sdk_findings` says."""

    root: Path
    version: str
    """`2.43.0.260128`; empty where nothing says it."""

    @property
    def tools(self) -> Path:
        return self.root / "bin" / PLATFORM

    @property
    def libraries(self) -> Path:
        return self.root / "lib" / PLATFORM

    @property
    def python_modules(self) -> Path:
        return self.root / "lib" / "python"

    def tool(self, name: str) -> Path:
        return self.tools / name

    def describe(self) -> str:
        """Short and stable: part of cache keys."""
        return f"QAIRT SDK {self.version or 'of unknown version'}"


def numbers(version: str) -> tuple[int, ...]:
    """`2.43.0.260128` -> `(2, 43, 0, 260128)`."""
    return tuple(int(number) for number in re.findall(r"\d+", version))


def named_root(setting: Path | None) -> Path | None:
    """The folder that `sdk_root` or `$QAIRT_SDK_ROOT` names, the setting first; None where neither does."""
    if setting is not None:
        return setting
    variable = os.environ.get(ROOT_VARIABLE, "").strip()
    return Path(variable).expanduser().absolute() if variable else None


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
    from qairt.toolchain.sdk_process import prepared

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
