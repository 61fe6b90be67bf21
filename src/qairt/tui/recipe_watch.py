"""Notices that the recipe, or a file that it names, was changed from outside since it was planned."""

from __future__ import annotations

import threading
from collections.abc import Callable
from pathlib import Path

from qairt.project import Project
from qairt.recipe.named_files import stamps_of

_INTERVAL = 0.4
"""Seconds between looks."""


class RecipeWatch:
    """Looks at the files of the latest plan in a thread, which a slow disk may hold up.

    Args:
        changed: called in that thread with the files that changed since the plan, once for each change.
    """

    def __init__(self, project: Project, changed: Callable[[list[Path]], object]) -> None:
        self._project = project
        self._changed = changed
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._watch, name="recipe watch", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        self._stopped.set()

    def _watch(self) -> None:
        told: object = None
        while not self._stopped.wait(_INTERVAL):
            planned = self._project.planned
            changed = planned.changed_files()
            if changed and told != (id(planned), stamps_of(changed)):
                told = (id(planned), stamps_of(changed))
                self._changed(changed)
