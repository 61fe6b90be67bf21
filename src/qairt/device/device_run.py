"""One run of a program on a device: a folder for what it reads and writes, and its end whatever happens here."""

from __future__ import annotations

import secrets
import shlex
import tempfile
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from types import TracebackType

from qairt.device.base import Finished, Output, silent
from qairt.device.delivery import Folder
from qairt.device.sdk_files import TOOL
from qairt.errors import DeviceError

_DSP_PLACES = ("/vendor/dsp/cdsp", "/vendor/lib/rfsa/adsp", "/system/lib/rfsa/adsp", "/usr/lib/dsp/cdsp", "/dsp")
"""Where systems keep the NPU's own libraries; ours come first."""

_END = """\
if pid=$(cat {run}/pid 2>/dev/null) && kill "$pid" 2>/dev/null; then
  n=0
  while kill -0 "$pid" 2>/dev/null && [ $n -lt 20 ]; do sleep 0.1; n=$((n+1)); done
  kill -9 "$pid" 2>/dev/null
fi
rm -rf {run}
"""
_FORGOTTEN = """\
cd {folder} 2>/dev/null || exit 0
for run in run-*; do
  [ -d "$run" ] || continue
  pid=$(cat "$run/pid" 2>/dev/null); if [ -n "$pid" ] && kill -0 "$pid" 2>/dev/null; then continue; fi
  rm -rf "$run"
done
"""


class DeviceRun:
    """Inside, a folder `run-…` is on the device; after it, neither that nor a process of ours is."""

    def __init__(self, folder: Folder) -> None:
        self._folder = folder
        self.name = f"run-{secrets.token_hex(4)}"

    def __enter__(self) -> DeviceRun:
        self._folder.make(self.name)
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None) -> None:
        command = _END.format(run=self._path)
        if error is None:
            self._folder.device.run(command)
            return
        with suppress(DeviceError):  # what went wrong before is what the user must see
            self._folder.device.run(command)

    @property
    def _path(self) -> str:
        return shlex.quote(f"{self._folder.path}/{self.name}")

    def write(self, texts: Mapping[str, bytes]) -> None:
        """Files in the run's folder."""
        with tempfile.TemporaryDirectory(prefix="qairt-") as place:
            files = {}
            for name, data in texts.items():
                files[name] = Path(place) / name.replace("/", "_")
                files[name].write_bytes(data)
            self.push(files)

    def push(self, files: Mapping[str, Path]) -> None:
        """Local files into the run's folder."""
        self._folder.device.push(files, f"{self._folder.path}/{self.name}", sent=silent)

    def read(self, name: str) -> bytes | None:
        """What is in one of its files; None when there is none."""
        return self._folder.read(f"{self.name}/{name}")

    def sizes(self, name: str) -> dict[str, int]:
        """Bytes of the files below one of its folders, by their names in the run's folder."""
        text = self._folder.shell(
            f"cd {self._path} && if [ -d {name} ]; then find {name} -type f -exec stat -c '%s %n' {{}} +; fi"
        )
        pairs = (line.split(" ", 1) for line in text.splitlines())
        return {path: int(count) for count, path in pairs}

    def read_all(self, names: Sequence[str]) -> bytes:
        """What is in some of its files, one after the other."""
        finished = self._folder.device.run(f"cd {self._path} && cat {shlex.join(names)}")
        if finished.code:
            said = finished.err.decode(errors="replace").strip()
            raise DeviceError(
                f"its results cannot be read: {said}", where=self._folder.device.name, remedy="run the same again"
            )
        return finished.out

    def program(self, tool: str, words: Sequence[str], *, inside: str, output: Output | None = None) -> Finished:
        """Run a program of the folder `tool`.

        Args:
            tool: its name.
            words: its arguments; a path in the run's folder is `../RUN/…`.
            inside: the folder of ours that it starts in, such as `bundle`.

        Raises:
            DeviceError: the program cannot be started, or the device is lost.
        """
        places = ";".join(_DSP_PLACES)
        command = (
            f"cd {shlex.quote(self._folder.path)} && home=$PWD && mkdir -p {inside}"
            f" && sh -c 'echo $PPID' > {self.name}/pid"
            f' && tool=$home/{TOOL} && export LD_LIBRARY_PATH="$tool" PATH="$tool:$PATH"'
            ' && if command -v cygpath >/dev/null 2>&1; then tool=$(cygpath -w "$tool"); fi'
            f' && export ADSP_LIBRARY_PATH="$tool;{places}"'
            f' && cd {inside} && exec "$home"/{TOOL}/{tool} {shlex.join(words)}'
        )
        finished = self._folder.device.run(command, output=output)
        if finished.code in (126, 127):
            said = finished.err.decode(errors="replace").strip() or f"exit code {finished.code}"
            raise DeviceError(
                f"{tool} cannot be started: {said}",
                where=self._folder.device.name,
                remedy="the SDK's program does not fit this system, or its storage forbids programs: see"
                " --device-folder; `--clean` sends everything again",
            )
        return finished


def forget_runs(folder: Folder) -> None:
    """Remove what runs left there whose computer was lost; those that go on are left alone."""
    folder.shell(_FORGOTTEN.format(folder=shlex.quote(folder.path)))
