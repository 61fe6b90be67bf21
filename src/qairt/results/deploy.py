"""Putting a finished run's bundle and the SDK's programs on a phone or board."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from filelock import FileLock, Timeout

from qairt.amounts import count, size
from qairt.device.delivery import Folder
from qairt.device.device_run import forget_runs
from qairt.device.facts import DeviceFacts, ask, require_fit
from qairt.device.genie import BUNDLE
from qairt.device.sdk_files import sdk_files
from qairt.errors import CacheError, DeviceError, QairtError, ToolchainNotAvailable
from qairt.files import files_below
from qairt.folders import temporary_folder
from qairt.notify import Notify
from qairt.results.bundle import export
from qairt.results.device_selection import DeviceSelection
from qairt.results.finished import FinishedRun
from qairt.stages.export_bundle import Bundle
from qairt.stages.facts import soc_of
from qairt.stages.toolchain_choice import sdk_root

if TYPE_CHECKING:
    from qairt.device.base import Device
    from qairt.model.tokenizer import Tokenizer
    from qairt.toolchain.soc import Soc

_REPORT_EVERY_S = 5.0


@dataclass(frozen=True)
class DeviceBundle:
    """A bundle for Genie, and what a device and the SDK must match."""

    bundle: Path
    recipe: str
    """Its name."""
    soc: Soc
    """The chip that it was compiled for."""
    vocabulary: int
    tokenizer: Tokenizer
    sdk_root: Path | None
    state_folder: Path
    digest: Callable[[Path], str]


@contextmanager
def device_bundle(run: FinishedRun) -> Iterator[DeviceBundle]:
    """The finished bundle for Genie; composed in a temporary folder when the recipe's own has another format."""
    from qairt.bundle.metadata import read_metadata

    bundle = run.only_output("export_bundle", Bundle).bundle
    config, tokenizer, metadata = run.config, run.tokenizer, read_metadata(bundle)
    with temporary_folder(run.state_folder, "device") as work:
        if metadata is None or metadata.format != "genie":
            bundle = work / "bundle"
            export(run, bundle, "genie")
        yield DeviceBundle(
            bundle=bundle,
            recipe=run.recipe_name,
            soc=soc_of(run.env),
            vocabulary=config.vocab_size,
            tokenizer=tokenizer,
            sdk_root=sdk_root(run.env),
            state_folder=run.state_folder,
            digest=lambda path: run.env.digest("execute", path),
        )


@dataclass(frozen=True)
class DeployedDevice:
    """A device with everything on it."""

    folder: Folder
    facts: DeviceFacts
    sdk_version: str
    lock: FileLock
    """Keeps other qairt processes away until it is released or garbage-collected."""

    def __str__(self) -> str:
        return f"{self.folder.device.name}, {_described(self.facts)}, QAIRT SDK {self.sdk_version or '?'}"


def deploy(bundle: DeviceBundle, selection: DeviceSelection, tool: str, notify: Notify) -> DeployedDevice:
    """Send what differs of the bundle and of one of the SDK's programs to a device.

    Raises:
        ToolchainNotAvailable: the SDK is missing, incomplete or too old.
        DeviceError: the device is missing or unfit, or the connection was lost.
    """
    root, version = _open_sdk(bundle)
    device = selection.open()
    folder = Folder(device, selection.recipe_folder(bundle.recipe, bundle.state_folder))
    lock = _locked(device, bundle.state_folder)
    try:
        facts = ask(device, folder.path)
        notify(f"{device.name}: {_described(facts)}")
        try:
            notes = require_fit(facts, bundle.soc, device.name)
            tools = sdk_files(root, [tool], facts, facts.soc or bundle.soc)
        except QairtError:
            with suppress(DeviceError):  # the first error is the one to show
                folder.remove_if_empty()
            raise
        for note in notes:
            notify(note)
        forget_runs(folder)
        files = {f"{BUNDLE}/{path.relative_to(bundle.bundle)}": path for path in files_below(bundle.bundle)}
        progress = _Progress(notify)
        delivered = folder.deliver(
            files | tools, hashing=facts.hashing, digest=bundle.digest, sending=progress.begin, sent=progress.sent
        )
    except BaseException:
        lock.release()
        raise
    notify(f"{device.name}: {delivered}; runs with QAIRT SDK {version or 'of unknown version'}")
    return DeployedDevice(folder, facts, version, lock)


def clean(selection: DeviceSelection, recipe: str, state_folder: Path) -> tuple[str, int]:
    """Remove what earlier runs of a recipe left on a device; returns the place and the bytes that were freed.

    Raises:
        DeviceError: it cannot be reached, or another qairt is using it.
    """
    folder = Folder(selection.open(), selection.recipe_folder(recipe, state_folder))
    lock = _locked(folder.device, state_folder)
    try:
        taken = folder.size()
        folder.remove()
    finally:
        lock.release()
    return f"{folder.device.name}, {folder.path}", taken


def _locked(device: Device, state_folder: Path) -> FileLock:
    """A lock on this recipe's folder on a device.

    Raises:
        DeviceError: another process holds it.
    """
    locks = state_folder / "locks"
    locks.mkdir(parents=True, exist_ok=True)
    lock = FileLock(locks / f"device-{hashlib.sha256(device.name.encode()).hexdigest()[:16]}.lock", is_singleton=True)
    try:
        lock.acquire(timeout=0)
    except Timeout as error:
        raise DeviceError(
            "another qairt is using it with this recipe",
            where=device.name,
            remedy="wait until it has ended, then run the same command again",
        ) from error
    return lock


def _open_sdk(bundle: DeviceBundle) -> tuple[Path, str]:
    """The SDK's folder and version; its libraries run on the device.

    Raises:
        ToolchainNotAvailable: there is none, it is not trusted, or it is older than the compiler of the binaries.
    """
    from qairt.toolchain.sdk.install import numbers
    from qairt.toolchain.sdk.open import version_in
    from qairt.toolchain.sdk.trust import require_trusted

    root = bundle.sdk_root
    get = "get the QAIRT SDK (softwarecenter.qualcomm.com) and set QAIRT_SDK_ROOT to the folder with bin/ and lib/;"
    without = "without one, `qairt execute --target genie` runs the same model on this machine"
    if root is None or not root.is_dir():
        what = "sdk_root and QAIRT_SDK_ROOT are not set" if root is None else f"there is no folder {root}"
        raise ToolchainNotAvailable(
            f"a device needs libraries of the QAIRT SDK, and {what}", where="sdk_root", remedy=f"{get} {without}"
        )
    if not (root / "lib").is_dir():
        inner = next((path for path in sorted(root.glob("*")) if (path / "lib").is_dir()), None)
        raise ToolchainNotAvailable(
            "it is not a QAIRT SDK: it has no lib/",
            where=str(root),
            remedy=f"did you mean {inner}?" if inner else f"{get} {without}",
        )
    require_trusted(root)
    version, compiled_by = version_in(root), _compiler_version(bundle.bundle)
    if version and compiled_by and numbers(version)[:2] < numbers(compiled_by)[:2]:
        least = ".".join(map(str, numbers(compiled_by)[:2]))
        raise ToolchainNotAvailable(
            f"the SDK is {version}, and the binaries were compiled by {compiled_by}: a runtime reads none that are"
            " newer than itself",
            where=str(root),
            remedy=f"use SDK {least} or newer, or compile with this one (toolchain: sdk in the recipe's stages)",
        )
    return root, version


def _compiler_version(bundle: Path) -> str:
    """The version that compiled a bundle's binaries; empty when it cannot be read here."""
    from qairt.toolchain.qnn.inspection import inspect

    binaries = sorted(bundle.rglob("*.bin"))
    if not binaries:
        raise CacheError("there is no binary in the bundle", where=str(bundle), remedy="`qairt run` builds them")
    try:
        return inspect(binaries[0]).sdk_version
    except QairtError:
        return ""


def _described(facts: DeviceFacts) -> str:
    system = f"Android {facts.release}" if facts.system == "android" else f"{facts.system} {facts.release}".strip()
    chip = f"{facts.soc.name} (HTP v{facts.soc.htp})" if facts.soc else facts.chip or "chip unknown"
    return f"{system}, {chip}"


class _Progress:
    """Reports every few seconds how much was sent."""

    def __init__(self, notify: Notify) -> None:
        self._notify = notify
        self._total, self._sent = 0, 0
        self._reported_at = time.monotonic()

    def begin(self, files: int, bytes_: int) -> None:
        self._total = bytes_
        self._notify(f"sending {count(files, 'file')}, {size(bytes_)}")

    def sent(self, bytes_: int) -> None:
        self._sent += bytes_
        if time.monotonic() - self._reported_at >= _REPORT_EVERY_S:
            self._reported_at = time.monotonic()
            self._notify(f"sent {size(self._sent)} of {size(self._total)}")
