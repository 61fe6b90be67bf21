"""Serves the requests that other processes leave in the folder of a run."""

from __future__ import annotations

import threading
from collections.abc import Callable

from qairt.engine.record import events as ev
from qairt.engine.record.folder import Request, RunFolder

_INTERVAL = 0.2  # seconds; meanwhile the screen shows "requested"

Answer = Callable[[Request], tuple[bool, str]]
"""Carries out a request; returns whether that succeeded, and a message."""


class RequestServer:
    """While inside, passes every request to `answer` and emits the result."""

    def __init__(self, folder: RunFolder, answer: Answer, emit: Callable[[ev.Event], None]) -> None:
        self._folder = folder
        self._answer = answer
        self._emit = emit
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._serve, name="requests", daemon=True)

    def __enter__(self) -> RequestServer:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._thread.join()

    def _serve(self) -> None:
        while not self._over.wait(_INTERVAL):
            for request in self._folder.take_requests():
                done, message = self._answer(request)
                self._emit(ev.RequestAnswered(request=request.id, action=request.action, done=done, message=message))
