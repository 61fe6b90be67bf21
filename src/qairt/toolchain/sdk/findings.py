"""What an SDK lacks, said before work starts: by `qairt check`, by `qairt doctor` and at the beginning of a run."""

from __future__ import annotations

from typing import Literal

from qairt.errors import Finding, ToolchainNotAvailable
from qairt.toolchain.sdk import python as sdk_python
from qairt.toolchain.sdk.open import start_converter
from qairt.toolchain.sdk.place import CONVERTER, INSTALL, LIBRARIES, NEWEST, OLDEST, TOOLS, Sdk, numbers
from qairt.toolchain.sdk.process import require_executable
from qairt.toolchain.sdk.python import find_python, needs_python
from qairt.toolchain.vendor_process import failure


def findings(sdk: Sdk) -> list[Finding]:
    """`error` for what is missing, first; `warning` for what may not work. Starts no tool but the Python."""
    found = [*_version(sdk), *_tools(sdk), *_python(sdk)]
    return sorted(found, key=lambda finding: finding.status != "error")


def require(sdk: Sdk) -> list[Finding]:
    """
    Returns:
        What may not work but is tried.

    Raises:
        ToolchainNotAvailable: names the first thing that is missing, and how many more there are.
    """
    found = findings(sdk)
    missing = [finding for finding in found if finding.status == "error"]
    if missing:
        more = f" (and {len(missing) - 1} more: qairt doctor names them)" if len(missing) > 1 else ""
        raise ToolchainNotAvailable(missing[0].text + more, where="sdk_root", remedy=missing[0].remedy)
    return found


def not_answering(sdk: Sdk) -> Finding | None:
    """Start the converter, which loads the vendor's libraries; None where it answers."""
    try:
        ended = start_converter(sdk)
    except ToolchainNotAvailable as error:
        return _finding("error", error.what, error.remedy or INSTALL)
    if ended.code == 0:
        return None
    told = failure(CONVERTER, ended, where="")
    return _finding("error", told.what, told.remedy or INSTALL)


def _version(sdk: Sdk) -> list[Finding]:
    known = f"{OLDEST[0]}.{OLDEST[1]} to {NEWEST[0]}.{NEWEST[1]} are known"
    version = numbers(sdk.version)[:2]
    if not version:
        what = f"the version of the SDK in {sdk.root} is written nowhere, and its converter does not say it"
        return [_finding("error", what, "install it again: sdk.yaml is missing, and the folder has another name")]
    if version < OLDEST:
        return [_finding("error", f"QAIRT SDK {sdk.version} is too old, {known}", "install a newer one")]
    if version > NEWEST:
        what = f"QAIRT SDK {sdk.version} is newer than what qairt knows: {known}; it is tried"
        return [_finding("warning", what, "if what it made cannot be read back, use a known version")]
    return []


def _tools(sdk: Sdk) -> list[Finding]:
    found = []
    for tool in TOOLS:
        try:
            require_executable(sdk.tool(tool))
        except ToolchainNotAvailable as error:
            found.append(_finding("error", f"{error.what} (in {error.where})", error.remedy or INSTALL))
    for library in LIBRARIES:
        if not (sdk.libraries / library).is_file():
            found.append(_finding("error", f"the SDK lacks {library} (in {sdk.libraries})", "install it again"))
    return found


def _python(sdk: Sdk) -> list[Finding]:
    if not any(needs_python(sdk.tool(tool)) for tool in TOOLS):
        return []
    python = find_python()
    if python is None:
        return [_finding("error", "there is no Python to run the SDK's converter with", sdk_python.REMEDY)]
    if python.version[:2] < sdk_python.BUILT_FOR:
        what = f"the SDK's converter would run with {python.describe()}, which is too old: it needs 3.10"
        return [_finding("error", what, sdk_python.REMEDY)]
    if python.version[:2] > sdk_python.BUILT_FOR:
        what = f"the SDK's converter runs with {python.describe()}; its libraries are built for 3.10"
        return [_finding("warning", what, sdk_python.REMEDY)]
    return []


def _finding(status: Literal["warning", "error"], text: str, remedy: str) -> Finding:
    return Finding("QAIRT SDK", status, text, remedy)
