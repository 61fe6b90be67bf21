"""A folder of ours on a device: what is in it, and bringing it up to date by what differs.

FOLDER/bundle/…  FOLDER/tool/…     what was asked for, by name; every file whole
FOLDER/incoming/…                  files on their way: compared, then moved to their place
FOLDER/run-…/                      one run's prompt and results, gone after it
FOLDER/manifest                    sizes and times of what we put there, for devices without sha256sum
"""

from __future__ import annotations

import shlex
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from qairt.amounts import count, size
from qairt.device.base import Device, Sent, silent
from qairt.errors import DeviceError
from qairt.files import sha256_of

INCOMING = "incoming"
MANIFEST = "manifest"
_TOGETHER = 20
"""Files named in one command, for the length of a command is limited."""


@dataclass(frozen=True)
class Delivery:
    """What it took to bring a folder up to date."""

    sent: int
    """Files."""
    sent_bytes: int
    kept: int
    """Files that were there already."""
    total_bytes: int
    """Of all of them."""

    def __str__(self) -> str:
        if not self.sent:
            return f"all {count(self.kept, 'file')} are there already ({size(self.total_bytes)})"
        there = f", {self.kept} were there" if self.kept else ""
        return f"sent {count(self.sent, 'file')}, {size(self.sent_bytes)}{there}"


class Folder:
    """A folder on a device that is ours."""

    def __init__(self, device: Device, path: str) -> None:
        """
        Args:
            path: absolute, or from the device's home folder; of plain characters.
        """
        self.device = device
        self.path = path

    def deliver(
        self,
        files: Mapping[str, Path],
        *,
        hashing: bool,
        digest: Callable[[Path], str] = sha256_of,
        sending: Callable[[int, int], None] = lambda files, bytes_: None,
        sent: Sent = silent,
    ) -> Delivery:
        """Make the folder hold exactly these files, sending those that differ.

        1. A file takes its place only after it was compared: a connection that breaks leaves nothing that a later call
           would trust. What arrived whole is not sent again.
        2. Files of ours that are not asked for any more, and old versions, make room first.

        Args:
            files: local files by their names in the folder, `tool/libGenie.so`.
            hashing: the device has `sha256sum`. Without, sizes and times that we noted there are compared.
            digest: SHA-256 of a local file; one that remembers saves time.
            sending: told how many files and bytes will go over, if any.
            sent: told what does.

        Raises:
            DeviceError: the connection broke, there is no room (says how much is needed), or what arrived is not what
                was sent.
        """
        wanted = {name: digest(path) for name, path in files.items()}
        there = self._digests() if hashing else self._noted()
        missing = [name for name, value in wanted.items() if there.get(name) != value]
        arrived = [name for name in missing if there.get(f"{INCOMING}/{name}") == wanted[name]]
        keep = {*wanted} - {*missing} | {f"{INCOMING}/{name}" for name in arrived} | {MANIFEST}
        self._remove(name for name in there if name not in keep)
        pushed = {name: files[name] for name in missing if name not in arrived}
        needed = sum(path.stat().st_size for path in pushed.values())
        if pushed:
            self._require_room(needed)
            sending(len(pushed), needed)
            self._make_folders(f"{INCOMING}/{name}" for name in pushed)
            self.device.push(pushed, f"{self.path}/{INCOMING}", sent=sent)
            self._compare(pushed, wanted, hashing=hashing)
        if missing:
            self._place(missing)
            if not hashing:
                self._note(wanted)
        return Delivery(
            sent=len(pushed),
            sent_bytes=needed,
            kept=len(wanted) - len(pushed),
            total_bytes=sum(path.stat().st_size for path in files.values()),
        )

    def size(self) -> int:
        """Bytes that it takes on the device; 0 when there is none."""
        text = self.shell(f"du -sk {self._quoted} 2>/dev/null || true").split()
        return 1024 * int(text[0]) if text else 0

    def remove(self) -> None:
        """Delete it with all that is in it, and the folder around it if it was the last."""
        self.shell(f"rm -rf {self._quoted} && {self._end_empty}")

    def remove_if_empty(self) -> None:
        """Leave no empty folder behind."""
        self.shell(self._end_empty)

    def make(self, name: str) -> None:
        """Make a folder in it."""
        self.shell(f"mkdir -p {shlex.quote(f'{self.path}/{name}')}")

    def read(self, name: str) -> bytes | None:
        """A file's content; None when there is none."""
        path = shlex.quote(f"{self.path}/{name}")
        finished = self.device.run(f"if [ -f {path} ]; then cat {path}; else exit 3; fi")
        return None if finished.code else finished.out

    def shell(self, command: str) -> str:
        """What a command writes.

        Raises:
            DeviceError: it failed; says how.
        """
        finished = self.device.run(command)
        if finished.code:
            said = (finished.err or finished.out).decode(errors="replace").strip().splitlines()
            raise DeviceError(
                f"a command failed: {said[-1] if said else f'exit code {finished.code}'}",
                where=f"{self.device.name}, {self.path}",
                remedy="run the same again; --clean starts from an empty folder",
            )
        return finished.text

    @property
    def _quoted(self) -> str:
        return shlex.quote(self.path)

    @property
    def _end_empty(self) -> str:
        return f"{{ rmdir {self._quoted} {shlex.quote(self.path.rpartition('/')[0])} 2>/dev/null || true; }}"

    def _listing(self, action: str) -> str:
        """One line for each file of ours in the folder, but for those of runs."""
        return self.shell(
            f"if cd {self._quoted} 2>/dev/null; then find . -type f ! -path './run-*' -exec {action} {{}} +; fi"
        )

    def _digests(self) -> dict[str, str]:
        found = {}
        for line in self._listing("sha256sum").splitlines():
            digest, _, name = line.partition(" ")
            found[name[1:].removeprefix("./")] = digest  # a space, or on Windows a star, stands before the name
        return found

    def _noted(self) -> dict[str, str]:
        """Digests that we noted, of files whose size and time are still those; "" for others."""
        noted = {}
        for line in (self.read(MANIFEST) or b"").decode(errors="replace").splitlines():
            digest, _, rest = line.partition(" ")
            noted[rest] = digest
        return {line.split(" ", 2)[2]: noted.get(line, "") for line in self._stamps()}

    def _stamps(self) -> list[str]:
        """`SIZE TIME NAME` of every file."""
        lines = self._listing("stat -c '%s %Y %n'").splitlines()
        return [line.replace(" ./", " ", 1) for line in lines]

    def _note(self, wanted: Mapping[str, str]) -> None:
        lines = [f"{wanted[name]} {stamp}" for stamp in self._stamps() if (name := stamp.split(" ", 2)[2]) in wanted]
        new, path = (shlex.quote(f"{self.path}/{name}") for name in (f"{MANIFEST}.new", MANIFEST))
        self.shell(f"printf '%s\\n' {shlex.join(lines)} > {new} && mv -f {new} {path}")

    def _remove(self, names: Iterable[str]) -> None:
        for some in _groups(sorted(names)):
            self.shell("rm -f " + " ".join(shlex.quote(f"{self.path}/{name}") for name in some))

    def _make_folders(self, names: Iterable[str]) -> None:
        folders = sorted({f"{self.path}/{name}".rpartition("/")[0] for name in names})
        self.shell("mkdir -p " + " ".join(map(shlex.quote, folders)))

    def _require_room(self, needed: int) -> None:
        self.shell(f"mkdir -p {self._quoted}")
        lines = self.shell(f"df -kP {self._quoted}").splitlines()
        columns = lines[-1].split() if lines else []
        if len(columns) < 4 or not columns[3].isdigit():
            return
        free = 1024 * int(columns[3])
        if needed > free:
            self.remove_if_empty()
            raise DeviceError(
                f"there is no room: {size(needed)} are needed, {size(free)} are free",
                where=f"{self.device.name}, {self.path}",
                remedy="make room on the device; `--clean` removes what earlier runs of this recipe left there",
            )

    def _compare(self, pushed: Mapping[str, Path], wanted: Mapping[str, str], *, hashing: bool) -> None:
        if hashing:
            there = self._digests()
            wrong = [name for name in pushed if there.get(f"{INCOMING}/{name}") != wanted[name]]
        else:
            sizes = {name: bytes_ for bytes_, _, name in (line.split(" ", 2) for line in self._stamps())}
            wrong = [n for n, path in pushed.items() if sizes.get(f"{INCOMING}/{n}") != str(path.stat().st_size)]
        if wrong:
            self._remove(f"{INCOMING}/{name}" for name in wrong)
            raise DeviceError(
                f"what arrived is not what was sent: {', '.join(wrong)}",
                where=f"{self.device.name}, {self.path}",
                remedy="run the same again; another cable or port may help",
            )

    def _place(self, names: Iterable[str]) -> None:
        """Move files from `incoming` to their place."""
        chosen = sorted(names)
        self._make_folders(chosen)
        incoming = shlex.quote(f"{self.path}/{INCOMING}")
        self.shell(f"chmod -R 755 {incoming}")
        for some in _groups(chosen):
            self.shell(" && ".join(self._move(name) for name in some))
        self.shell(f"rm -rf {incoming}")

    def _move(self, name: str) -> str:
        return f"mv -f {shlex.quote(f'{self.path}/{INCOMING}/{name}')} {shlex.quote(f'{self.path}/{name}')}"


def _groups(names: list[str]) -> Iterator[list[str]]:
    for start in range(0, len(names), _TOGETHER):
        yield names[start : start + _TOGETHER]
