"""Running an SDK's tools, each in an environment built here. Any exit code but 0 is an error."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

from qairt.errors import ToolchainError, ToolchainNotAvailable
from qairt.toolchain.sdk import sdk_python
from qairt.toolchain.sdk.install import ROOT_VARIABLE, Sdk
from qairt.toolchain.sdk.sdk_python import SdkPython, find_python, needs_python
from qairt.toolchain.sdk.trust import require_trusted
from qairt.toolchain.vendor_process import failure, run

_SYSTEM_PATH = ("/usr/local/bin", "/usr/bin", "/bin")


def run_tool(sdk: Sdk, tool: str, arguments: Sequence[str], folder: Path, *, where: str, threads: int = 1) -> None:
    """Run a tool in `folder`, to which its arguments' paths are relative. Its output goes to the item's log.

    Args:
        where: the artifact it makes, for messages.
        threads: the most it may use.

    Raises:
        ToolchainNotAvailable: it is missing or not executable, or there is no Python to run it.
        ToolchainError: it failed or died; explained by `qairt.toolchain.vendor_errors` where possible.
    """
    command, environment = tool_command(sdk, tool, arguments, home=folder, threads=threads)
    print(f"{sdk.describe()}: {tool} {' '.join(arguments)}", flush=True)
    try:
        ended = run(command, cwd=folder, env=environment)
    except OSError as error:
        raise ToolchainNotAvailable(
            f"{sdk.tool(tool)} cannot be started: {error.strerror or error}",
            where=where,
            remedy="install the SDK again; it is for x86-64 Linux",
        ) from error
    if ended.code != 0:
        raise failure(tool, ended, where=where)


def tool_command(
    sdk: Sdk, tool: str, arguments: Sequence[str], *, home: Path, threads: int = 1
) -> tuple[list[str], dict[str, str]]:
    """The command line of a tool and its whole environment.

    Args:
        home: its home folder and its folder for temporary files.

    Raises:
        ToolchainNotAvailable: the SDK is not trusted, the tool is missing or not executable, or there is no Python to
            run it.
    """
    path = sdk.tool(tool)
    require_trusted(sdk.root)
    require_executable(path)
    python = None
    command = [str(path), *arguments]
    if needs_python(path):
        python = find_python()
        if python is None:
            raise ToolchainNotAvailable(f"there is no Python to run {tool}", where="sdk_root", remedy=sdk_python.REMEDY)
        command = [str(python.path), *command]
    return command, _environment(sdk, python, home, threads)


def require_executable(path: Path) -> None:
    """
    Raises:
        ToolchainNotAvailable: a tool is missing or not executable.
    """
    if not path.is_file():
        raise ToolchainNotAvailable(f"the SDK lacks {path.name}", where=str(path.parent), remedy="install it again")
    if not os.access(path, os.X_OK):
        raise ToolchainNotAvailable(
            f"{path.name} is not executable", where=str(path.parent), remedy=f"chmod +x {path.parent}/*"
        )


def _environment(sdk: Sdk, python: SdkPython | None, home: Path, threads: int) -> dict[str, str]:
    """The SDK's tools, libraries and modules first, then the system's. Only `LD_LIBRARY_PATH` is taken from this
    process, as the last entry: some machines keep the C++ runtime that the tools need in a separate folder."""
    libraries = [str(sdk.libraries), python.libraries if python else "", os.environ.get("LD_LIBRARY_PATH", "")]
    tools = [str(sdk.tools), str(python.path.parent) if python else "", *_SYSTEM_PATH]
    return {
        ROOT_VARIABLE: str(sdk.root),
        "QNN_SDK_ROOT": str(sdk.root),
        "PATH": os.pathsep.join(filter(None, tools)),
        "LD_LIBRARY_PATH": os.pathsep.join(filter(None, libraries)),
        "PYTHONPATH": str(sdk.python_modules),
        "PYTHONUNBUFFERED": "1",
        "PYTHONDONTWRITEBYTECODE": "1",
        "LC_ALL": "C.UTF-8",
        "OMP_NUM_THREADS": str(threads),
        "HOME": str(home),
        "TMPDIR": str(home),
    }


def require_written(path: Path, tool: str, *, where: str) -> None:
    """
    Raises:
        ToolchainError: a tool succeeded but left no file, or an empty one.
    """
    if not path.is_file() or path.stat().st_size == 0:
        raise ToolchainError(
            f"{tool} reported success but wrote no {path.name}",
            where=where,
            remedy="see the item's log; run again, or use another version of the SDK",
        )
