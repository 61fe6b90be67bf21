"""Objects as files of a folder, which several machines may mount."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO

from qairt.engine.shared_store.objects import CHUNK, Missing, Unavailable
from qairt.errors import is_disk_full
from qairt.files import WRITING, new_held_file, open_regular
from qairt.folders import remove_dead
from qairt.machine import this_host


class FolderObjects:
    """Objects below a folder, which must exist: one that is not mounted is not filled by mistake."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._host = re.sub(r"[^\w.]", "_", this_host())
        if not folder.is_dir():
            raise Unavailable(f"there is no folder {folder}: mount it, or create it")

    def read(self, name: str) -> bytes:
        return b"".join(self.stream(name))

    def stream(self, name: str) -> Iterator[bytes]:
        with self._faults(), open_regular(self._folder / name) as file:
            while piece := file.read(CHUNK):
                yield piece

    def size(self, name: str) -> int | None:
        with self._faults():
            try:
                return (self._folder / name).stat().st_size
            except FileNotFoundError:
                if not self._folder.is_dir():
                    raise
                return None

    def put(self, name: str, file: BinaryIO) -> None:
        with self._faults():
            self._write(name, iter(lambda: file.read(CHUNK), b""), os.replace)

    def create(self, name: str, content: bytes) -> bool:
        with self._faults():
            try:
                self._write(name, iter([content]), os.link)
            except FileExistsError:
                return False
            return True

    def replace(self, name: str, content: bytes) -> None:
        with self._faults():
            self._write(name, iter([content]), os.replace)

    def names(self, prefix: str) -> Iterator[str]:
        with self._faults():
            for path in sorted((self._folder / prefix).rglob("*")):
                if path.is_file() and not path.name.startswith(WRITING):
                    yield path.relative_to(self._folder).as_posix()

    def _write(self, name: str, content: Iterator[bytes], put_in_place: Callable[[str, Path], object]) -> None:
        path = self._folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        prefix = f"{WRITING}{self._host}-"
        for left in path.parent.glob(f"{prefix}*"):  # by a writer that was killed; of other hosts, locks may be unknown
            remove_dead(left)
        handle, temporary = new_held_file(path.parent, prefix)
        try:
            with os.fdopen(handle, "wb") as file:
                for piece in content:
                    file.write(piece)
                file.flush()
                os.fsync(handle)
                os.chmod(handle, 0o444)
                put_in_place(temporary, path)
        except FileNotFoundError as error:
            raise Unavailable("what is written there disappears") from error
        finally:
            with suppress(FileNotFoundError):
                os.unlink(temporary)

    @contextmanager
    def _faults(self) -> Iterator[None]:
        try:
            yield
        except FileExistsError:
            raise
        except FileNotFoundError as error:
            if not self._folder.is_dir():
                raise Unavailable(f"the folder {self._folder} is gone") from error
            raise Missing from error
        except PermissionError as error:
            raise Unavailable("access denied") from error
        except OSError as error:
            why = "it is full" if is_disk_full(error) else (error.strerror or type(error).__name__)
            raise Unavailable(why) from error
