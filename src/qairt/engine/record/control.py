"""Requests that watchers leave in a run's folder, taken up by the process that runs it."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

from qairt.engine.record import events as ev
from qairt.engine.record.folder import Request, RunFolder

_INTERVAL = 0.2  # seconds between looks; a watcher shows "requested" meanwhile

Answer = Callable[[Request], tuple[bool, str]]
"""Does what is asked; returns whether it was done, and a sentence."""


class RequestServer:
    """While inside, every request is handed to `answer`, and what became of it is told as an event."""

    def __init__(self, folder: RunFolder, answer: Answer, emit: Callable[[ev.Event], None]) -> None:
        self._folder = folder
        self._answer = answer
        self._emit = emit
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._serve, name="requests", daemon=True)

    def __enter__(self) -> RequestServer:
        self._thread.start()
        return self

    def __exit__(self, *_: Any) -> None:
        self._over.set()
        self._thread.join()

    def _serve(self) -> None:
        while not self._over.wait(_INTERVAL):
            for request in self._folder.requests():
                done, message = self._answer(request)
                self._emit(ev.RequestAnswered(request=request.id, action=request.action, done=done, message=message))
