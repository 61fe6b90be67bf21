"""Problems of an SDK, reported before work starts: by `qairt check`, `qairt doctor` and at the start of a run."""

from __future__ import annotations

from typing import Literal

from qairt.errors import Finding, ToolchainNotAvailable
from qairt.toolchain.sdk import sdk_python
from qairt.toolchain.sdk.install import CONVERTER, INSTALL, LIBRARIES, NEWEST, OLDEST, TOOLS, Sdk, numbers
from qairt.toolchain.sdk.open import start_converter
from qairt.toolchain.sdk.process import require_executable
from qairt.toolchain.sdk.sdk_python import find_python, needs_python
from qairt.toolchain.sdk.trust import is_trusted, refusal
from qairt.toolchain.vendor_process import failure


def findings(sdk: Sdk) -> list[Finding]:
    """Missing pieces (`error`) first, then what may not work (`warning`). Starts no tool but the user's Python."""
    found = [*_trust(sdk), *_version(sdk), *_tools(sdk), *_python(sdk)]
    return sorted(found, key=lambda finding: finding.status != "error")


def require(sdk: Sdk) -> list[Finding]:
    """
    Returns:
        Warnings: what may not work.

    Raises:
        ToolchainNotAvailable: something is missing; names the first and counts the rest.
    """
    found = findings(sdk)
    missing = [finding for finding in found if finding.status == "error"]
    if missing:
        more = f" (and {len(missing) - 1} more: see qairt doctor)" if len(missing) > 1 else ""
        raise ToolchainNotAvailable(missing[0].text + more, where="sdk_root", remedy=missing[0].remedy)
    return found


def converter_fault(sdk: Sdk) -> Finding | None:
    """Start the converter, which loads the vendor's libraries; None where it works."""
    try:
        ended = start_converter(sdk)
    except ToolchainNotAvailable as error:
        return _finding("error", error.what, error.remedy or INSTALL)
    if ended.code == 0:
        return None
    fault = failure(CONVERTER, ended, where="")
    return _finding("error", fault.what, fault.remedy or INSTALL)


def _trust(sdk: Sdk) -> list[Finding]:
    if is_trusted(sdk.root):
        return []
    error = refusal(sdk.root)
    return [_finding("error", error.what, error.remedy or "")]


def _version(sdk: Sdk) -> list[Finding]:
    supported = f"{OLDEST[0]}.{OLDEST[1]} to {NEWEST[0]}.{NEWEST[1]} are supported"
    version = numbers(sdk.version)[:2]
    if not version:
        what = (
            f"cannot find out the version of the SDK in {sdk.root}: no sdk.yaml, and its converter does not report it"
        )
        return [_finding("error", what, "install it again, in a folder named after the version")]
    if version < OLDEST:
        return [_finding("error", f"QAIRT SDK {sdk.version} is too old: {supported}", "install a newer one")]
    if version > NEWEST:
        what = f"QAIRT SDK {sdk.version} is newer than the supported versions: {supported}"
        return [_finding("warning", what, "it may work; if its artifacts cannot be read back, use a supported version")]
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
        return [_finding("error", "there is no Python to run the SDK's converter", sdk_python.REMEDY)]
    if python.version[:2] < sdk_python.BUILT_FOR:
        what = f"the SDK's converter would run on {python.describe()}, which is too old: it needs 3.10"
        return [_finding("error", what, sdk_python.REMEDY)]
    if python.version[:2] > sdk_python.BUILT_FOR:
        what = f"the SDK's converter runs on {python.describe()}; its libraries are built for 3.10"
        return [_finding("warning", what, sdk_python.REMEDY)]
    return []


def _finding(status: Literal["warning", "error"], text: str, remedy: str) -> Finding:
    return Finding("QAIRT SDK", status, text, remedy)
