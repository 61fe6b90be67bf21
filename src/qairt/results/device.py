"""A finished run's bundle on a phone or board: checked here, brought there, asked."""

from __future__ import annotations

import hashlib
import json
import re
import secrets
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from filelock import FileLock, Timeout

from qairt.amounts import count, size
from qairt.device.delivery import Folder
from qairt.device.facts import DeviceFacts, ask, require_fit
from qairt.device.genie import BUNDLE, Answer, ProgramFailedError, Show, ask_genie, for_one_prompt, read_config
from qairt.device.running import forget_runs
from qairt.device.sdk_files import GENIE, sdk_files
from qairt.errors import CacheError, DeviceError, QairtError, ToolchainNotAvailable
from qairt.files import files_below, write_atomic
from qairt.runtime.generate import prompt_ids, prompt_text
from qairt.runtime.generator import require_known, require_room
from qairt.toolchain.genie.genie import CONFIG

if TYPE_CHECKING:
    from qairt.device.base import Device
    from qairt.model.tokenizer import Tokenizer
    from qairt.toolchain.soc import Soc

Kind = Literal["device", "ssh"]
"""device: Android by adb. ssh: Linux on Arm, and Windows on Arm with Git for Windows."""
Say = Callable[[str], None]
Prompt = str | Sequence[dict[str, Any]]

_OUR_FOLDER = "qairt"
_PLAIN = re.compile(r"[\w.+/][\w.+/-]*", re.ASCII)
_TOLD_EVERY_S = 5.0


@dataclass(frozen=True)
class Chosen:
    """The device that a user means."""

    kind: Kind
    name: str | None = None
    """`SERIAL@HOST` or `USER@HOST`; None for the only one that adb knows."""
    folder: str | None = None
    """Where on it our folder is; its usual place when None."""

    @classmethod
    def parse(cls, name: str | None) -> Chosen:
        """`SERIAL@HOST` of adb or `ssh:USER@HOST`, where nothing else tells them apart."""
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

    def place(self, recipe: str, state_folder: Path) -> str:
        """The folder of a recipe on it: another recipe of the same name has another.

        Raises:
            DeviceError: the given folder has characters that shells take for something else.
        """
        from qairt.device.adb import HOME

        if self.folder is not None and not _PLAIN.fullmatch(self.folder):
            raise DeviceError(
                "a folder on a device may have letters, digits and . _ - + / in its path",
                where=f"--device-folder {self.folder}",
                remedy=f"the usual one is {HOME}",
            )
        parent = self.folder or (HOME if self.kind == "device" else "")
        told_apart = hashlib.sha256(str(state_folder.absolute()).encode()).hexdigest()[:8]
        name = re.sub(r"[^\w.-]", "_", recipe, flags=re.ASCII)
        return "/".join(filter(None, [parent.rstrip("/"), _OUR_FOLDER, f"{name}-{told_apart}"]))


@dataclass(frozen=True)
class Compiled:
    """What is to run: a bundle for Genie, and what it must fit."""

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


@dataclass(frozen=True)
class Brought:
    """A device with everything on it."""

    folder: Folder
    facts: DeviceFacts
    sdk_version: str
    lock: FileLock
    """Held until it is released, or nothing refers to it any more: another qairt would change what is there."""

    def __str__(self) -> str:
        return f"{self.folder.device.name}, {_described(self.facts)}, QAIRT SDK {self.sdk_version or '?'}"


class DeviceTarget:
    """A bundle on a device, ready to answer."""

    def __init__(self, compiled: Compiled, folder: Folder, outputs: Path) -> None:
        self.folder = folder
        self._compiled = compiled
        self._config = read_config(compiled.bundle / CONFIG)
        self._outputs = outputs
        self._asked = 0

    def answer(self, prompt: Prompt, *, max_new_tokens: int | None, show: Show) -> tuple[Answer, Path]:
        """The answer, and the folder on this machine with the log and everything else that came of it.

        Raises:
            DeviceError: the program failed on the device, or the device was lost.
        """
        self._asked += 1
        place = self._outputs / str(self._asked)
        tokenizer = self._compiled.tokenizer
        text, _ = prompt_text(tokenizer, prompt)
        ids = prompt_ids(tokenizer, prompt)
        room = int(self._config["dialog"]["context"]["size"]) - len(ids)
        config = for_one_prompt(
            self._config,
            max_new_tokens=min(room, max_new_tokens or room),
            has_begin=tokenizer.encode(text) == ids,  # else a bare prompt, before which the model wants one
        )
        write_atomic(place / "prompt.txt", text)
        try:
            answer = ask_genie(self.folder, config, text, show=show)
        except ProgramFailedError as error:
            write_atomic(place / "output.log", error.log)
            remedy = f"{error.remedy}\nlog: {place / 'output.log'}"
            raise DeviceError(error.what, where=error.where, remedy=remedy) from error
        write_atomic(place / "answer.txt", answer.text)
        write_atomic(place / "output.log", answer.log)
        if answer.profile is not None:
            write_atomic(place / "profile.json", answer.profile)
        write_atomic(place / "timing.json", json.dumps(asdict(answer.timing), indent=2) + "\n")
        return answer, place


def require_prompts(compiled: Compiled, prompts: Sequence[Prompt]) -> None:
    """
    Raises:
        GenerationError: one is empty, or leaves no room for an answer in the context.
        ModelError: the tokenizer does not fit the model, or the chat template refuses it.
    """
    context = int(read_config(compiled.bundle / CONFIG)["dialog"]["context"]["size"])
    for prompt in prompts:
        ids = prompt_ids(compiled.tokenizer, prompt)
        require_known(ids, compiled.vocabulary)
        require_room(len(ids) + 1, context, context)


@contextmanager
def on_device(compiled: Compiled, chosen: Chosen, prompts: Sequence[Prompt], say: Say) -> Iterator[DeviceTarget]:
    """The bundle on a device, after everything was checked that can be known before something is sent.

    Args:
        prompts: what will be asked.
        say: told what goes on.

    Raises:
        QairtError: of what kind, the functions say that are called here.
    """
    require_prompts(compiled, prompts)
    there = brought(compiled, chosen, GENIE, say)
    stamp = time.strftime("%Y%m%d-%H%M%S")
    outputs = compiled.state_folder.parent / "execute" / f"{stamp}-{secrets.token_hex(2)}"
    try:
        yield DeviceTarget(compiled, there.folder, outputs)
    finally:
        there.lock.release()


def brought(compiled: Compiled, chosen: Chosen, tool: str, say: Say) -> Brought:
    """A device with the bundle and one of the SDK's programs, after both were brought up to date.

    Raises:
        ToolchainNotAvailable: the SDK is missing, incomplete or too old.
        DeviceError: the device is missing or unfit, or was lost.
    """
    root, version = _open_sdk(compiled)
    device = chosen.open()
    folder = Folder(device, chosen.place(compiled.recipe, compiled.state_folder))
    lock = _locked(device, compiled.state_folder)
    try:
        facts = ask(device, folder.path)
        say(f"{device.name}: {_described(facts)}")
        try:
            notes = require_fit(facts, compiled.soc, device.name)
            tools = sdk_files(root, [tool], facts, facts.soc or compiled.soc)
        except QairtError:
            with suppress(DeviceError):  # what went wrong before is what the user must see
                folder.remove_if_empty()
            raise
        for note in notes:
            say(note)
        forget_runs(folder)
        files = {f"{BUNDLE}/{path.relative_to(compiled.bundle)}": path for path in files_below(compiled.bundle)}
        progress = _Progress(say)
        delivered = folder.deliver(
            files | tools, hashing=facts.hashing, digest=compiled.digest, sending=progress.begin, sent=progress.sent
        )
    except BaseException:
        lock.release()
        raise
    say(f"{device.name}: {delivered}; runs with QAIRT SDK {version or 'of unknown version'}")
    return Brought(folder, facts, version, lock)


def clean(chosen: Chosen, recipe: str, state_folder: Path) -> tuple[str, int]:
    """Remove what earlier runs of a recipe left on a device; returns where and how many bytes.

    Raises:
        DeviceError: it cannot be reached, or another qairt is at work there.
    """
    folder = Folder(chosen.open(), chosen.place(recipe, state_folder))
    lock = _locked(folder.device, state_folder)
    try:
        taken = folder.size()
        folder.remove()
    finally:
        lock.release()
    return f"{folder.device.name}, {folder.path}", taken


def _locked(device: Device, state_folder: Path) -> FileLock:
    """This recipe's folder on a device, for one process alone.

    Raises:
        DeviceError: another one is at work there.
    """
    locks = state_folder / "locks"
    locks.mkdir(parents=True, exist_ok=True)
    lock = FileLock(locks / f"device-{hashlib.sha256(device.name.encode()).hexdigest()[:16]}.lock", is_singleton=True)
    try:
        lock.acquire(timeout=0)
    except Timeout as error:
        raise DeviceError(
            "another qairt is at work there with this recipe",
            where=device.name,
            remedy="wait until it has ended, then run the same again",
        ) from error
    return lock


def _open_sdk(compiled: Compiled) -> tuple[Path, str]:
    """The SDK's folder and version; its libraries are what runs on the device.

    Raises:
        ToolchainNotAvailable: there is none, or it is older than what compiled the binaries.
    """
    from qairt.toolchain.sdk.open import version_in
    from qairt.toolchain.sdk.place import numbers

    root = compiled.sdk_root
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
            "it is no QAIRT SDK: there is no lib/ in it",
            where=str(root),
            remedy=f"did you mean {inner}?" if inner else f"{get} {without}",
        )
    version, made_by = version_in(root), _made_by(compiled.bundle)
    if version and made_by and numbers(version)[:2] < numbers(made_by)[:2]:
        least = ".".join(map(str, numbers(made_by)[:2]))
        raise ToolchainNotAvailable(
            f"the SDK is {version}, and the binaries were made by {made_by}: a runtime reads none that are newer",
            where=str(root),
            remedy=f"use SDK {least} or newer, or compile with this one (toolchain: sdk in the recipe's stages)",
        )
    return root, version


def _made_by(bundle: Path) -> str:
    """The version that compiled a bundle's binaries; empty where it cannot be read here."""
    from qairt.toolchain.qnn import qnn

    binaries = sorted(bundle.rglob("*.bin"))
    if not binaries:
        raise CacheError("there is no binary in the bundle", where=str(bundle), remedy="`qairt run` makes them")
    try:
        return qnn.inspect(binaries[0]).sdk_version
    except QairtError:
        return ""


def _described(facts: DeviceFacts) -> str:
    system = f"Android {facts.release}" if facts.system == "android" else f"{facts.system} {facts.release}".strip()
    chip = f"{facts.soc.name} (HTP v{facts.soc.htp})" if facts.soc else facts.chip or "chip unknown"
    return f"{system}, {chip}"


class _Progress:
    """Says from time to time how much has gone over."""

    def __init__(self, say: Say) -> None:
        self._say = say
        self._total, self._done = 0, 0
        self._told = time.monotonic()

    def begin(self, files: int, bytes_: int) -> None:
        self._total = bytes_
        self._say(f"sending {count(files, 'file')}, {size(bytes_)}")

    def sent(self, bytes_: int) -> None:
        self._done += bytes_
        if time.monotonic() - self._told >= _TOLD_EVERY_S:
            self._told = time.monotonic()
            self._say(f"sent {size(self._done)} of {size(self._total)}")
