"""A phone in a folder: storage, properties, programs. Commands run in a real `sh` with only the phone's tools.

`/data/local/tmp` in a command is a folder below `root`; the phone's own programs (getprop, df, …) come first on PATH.
"""

from __future__ import annotations

import os
import shutil
import stat
import subprocess
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

HOME = "/data/local/tmp"
_TOOLS = [
    "sh",
    "cat",
    "chmod",
    "cp",
    "cut",
    "dirname",
    "du",
    "echo",
    "find",
    "grep",
    "head",
    "kill",
    "ls",
    "mkdir",
    "mv",
]
_TOOLS += ["printf", "ps", "rm", "rmdir", "sed", "sha256sum", "sleep", "sort", "stat", "tail", "test", "tr", "wc"]

PROPERTIES = {
    "ro.product.cpu.abilist": "arm64-v8a,armeabi-v7a,armeabi",
    "ro.soc.model": "SM8650",
    "ro.build.version.release": "14",
}


@dataclass
class FakePhone:
    """A phone. Its fields may be changed before or during a connection."""

    root: Path
    serial: str = "4f2a91c7"
    state: str = "device"
    model: str = "Pixel_Toy"
    machine: str = "aarch64"
    system: str = "Linux"
    """Output of `uname -s`."""
    programs: dict[str, str] = field(default_factory=dict)
    """Additional programs: shell scripts."""
    properties: dict[str, str] = field(default_factory=lambda: dict(PROPERTIES))
    without: tuple[str, ...] = ()
    """Tools that it lacks."""
    free_kb: int = 8_000_000
    full_after: int | None = None
    """Its storage is full after this many bytes of a file."""
    cut_after: int | None = None
    """The connection breaks, once, after this many pushed bytes."""
    frozen: bool = False
    """It no longer responds, though its server still lists it."""
    read_only: bool = False
    """Its file service has no write permission."""
    features: str = "shell_v2,cmd,stat_v2"
    received: list[str] = field(default_factory=list)
    """Names of completely pushed files."""
    commands: list[str] = field(default_factory=list)
    on_command: Callable[[str], None] = lambda command: None

    def __post_init__(self) -> None:
        self.storage.mkdir(parents=True, exist_ok=True)
        self._bin = self.root / "system" / "bin"
        self._bin.mkdir(parents=True, exist_ok=True)
        for tool in _TOOLS:
            found = shutil.which(tool, path="/usr/bin:/bin")
            assert found is not None, tool
            link = self._bin / tool
            if not link.exists():
                link.symlink_to(found)

    @property
    def storage(self) -> Path:
        """What the phone calls `/data/local/tmp`."""
        return self.root / "data" / "local" / "tmp"

    @property
    def files(self) -> set[str]:
        """Every file in the storage."""
        return {str(path.relative_to(self.storage)) for path in self.storage.rglob("*") if path.is_file()}

    def here(self, path: str) -> Path:
        """A path on the phone as one on this machine."""
        assert path == HOME or path.startswith(f"{HOME}/"), path
        return self.storage / path.removeprefix(HOME).lstrip("/")

    def start(self, command: str) -> subprocess.Popen[bytes]:
        """Run a command as adb's daemon does: `sh -c`, without a terminal."""
        self.commands.append(command)
        self.on_command(command)
        self._write_programs()
        return subprocess.Popen(
            [str(self._bin / "sh"), "-c", command.replace(HOME, str(self.storage))],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            cwd=self.root,
            env={"PATH": str(self._bin), "HOME": str(self.root)},
            start_new_session=True,
        )

    def as_told(self, output: bytes) -> bytes:
        """What a command wrote, with paths as they are on the phone."""
        return output.replace(str(self.storage).encode(), HOME.encode())

    def _write_programs(self) -> None:
        for tool in self.without:
            (self._bin / tool).unlink(missing_ok=True)
        names = "".join(f"  {name}) echo '{value}';;\n" for name, value in self.properties.items())
        self._program("getprop", f'case "$1" in\n{names}esac\n')
        self._program("uname", f'case "$1" in\n  -m) echo {self.machine};;\n  *) echo {self.system};;\nesac\n')
        self._program(
            "df",
            "echo 'Filesystem 1024-blocks Used Available Capacity Mounted on'\n"
            f"echo '/dev/block/dm-9 100000000 1000 {self.free_kb} 10% /data'\n",
        )

        for name, text in self.programs.items():
            self._program(name, text)

    def _program(self, name: str, text: str) -> None:
        if name in self.without:
            return
        path, new = self._bin / name, self._bin / f"{name}.{os.getpid()}.{id(object())}"
        new.write_text("#!/bin/sh\n" + text)
        new.chmod(new.stat().st_mode | stat.S_IXUSR)
        os.replace(new, path)
