"""A driver for terminals that can disconnect."""

from __future__ import annotations

import asyncio
import signal
from contextlib import suppress
from typing import Any, TextIO

from textual.app import App
from textual.drivers.linux_driver import LinuxDriver
from textual.events import Resize
from textual.geometry import Size


class _ForgivingFile:
    """A terminal to write to. Once it is gone, output is dropped, so that the run never waits for it."""

    def __init__(self, file: TextIO) -> None:
        self._file = file

    def write(self, text: str) -> None:
        with suppress(OSError):
            self._file.write(text)

    def flush(self) -> None:
        with suppress(OSError):
            self._file.flush()

    def __getattr__(self, name: str) -> object:
        return getattr(self._file, name)


class ResilientDriver(LinuxDriver):
    """Textual's driver, except that it does not wait forever for a terminal that hung up.

    Textual also reads the window size in the signal handler. A second signal interrupts the first handler, whose older
    size then arrives last and stays. Here the event loop reads it, after the signal.
    """

    def __init__(
        self, app: App[object], *, debug: bool = False, mouse: bool = True, size: tuple[int, int] | None = None
    ) -> None:
        super().__init__(app, debug=debug, mouse=mouse, size=size)
        self._file: Any = _ForgivingFile(self._file)
        self._stopped = False

    def start_application_mode(self) -> None:
        super().start_application_mode()  # type: ignore[no-untyped-call]
        loop = asyncio.get_running_loop()
        signal.signal(signal.SIGWINCH, lambda *_: loop.call_soon_threadsafe(self._post_size))

    def _post_size(self) -> None:
        if not self._in_band_window_resize:
            size = Size(*self._get_terminal_size())
            self._app.post_message(Resize(size, size))

    def run_input_thread(self) -> None:
        """Read keys until the terminal is gone."""
        with suppress(OSError):
            super().run_input_thread()

    def _sigtstp_application(self, *arguments: object) -> None:
        self._stopped = True
        super()._sigtstp_application(*arguments)

    def _sigcont_application(self, *arguments: object) -> None:
        """The shell resumes its whole job, and our parent resumes us again: set up the terminal only once."""
        if self._stopped:
            self._stopped = False
            super()._sigcont_application(*arguments)
