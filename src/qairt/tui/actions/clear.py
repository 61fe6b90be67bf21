"""Clearing cached results, and restoring them."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from qairt.tui.workspace import Workspace

if TYPE_CHECKING:
    from qairt.engine.cache.clearing import ClearPreview, Scope
    from qairt.tui.screens.clear import ClearChoice


class ClearActions:
    """Clears what is selected on the monitor, and opens the cache screen.

    Args:
        cache_changed: called after entries were cleared, restored or deleted.
    """

    def __init__(self, workspace: Workspace, cache_changed: Callable[[], None]) -> None:
        self._workspace = workspace
        self._cache_changed = cache_changed

    def clear_selected(self) -> None:
        """Confirm what to clear: the selected item, its row or its stage."""
        workspace = self._workspace
        item = workspace.monitor.selected
        if workspace.is_refused() or item is None:
            return
        from qairt.engine.cache.clearing import preview_items
        from qairt.engine.cache.store import Store
        from qairt.tui.lines.matrix import COLUMN_AXIS
        from qairt.tui.screens.clear import ClearScreen

        stage, label, state = item.stage, item.label, workspace.run.session.state

        def preview(scope: Scope, after: bool) -> ClearPreview:
            store = Store(workspace.project.cache_dir)
            return preview_items(store, state, (stage, label), scope, row_axis=COLUMN_AXIS, after=after)

        workspace.app.push_screen(ClearScreen(preview, workspace.look), self._clear)

    def undo(self) -> None:
        """Restore what was cleared last."""
        if not self._workspace.is_refused():
            self._workspace.background.run(self._undo_now, self._finished)

    def open_cache(self) -> None:
        from qairt.engine.cache.store import Store
        from qairt.tui.screens.cache import CacheScreen

        workspace = self._workspace
        plan = workspace.project.planned.plan
        screen = CacheScreen(
            Store(workspace.project.cache_dir),
            workspace.look,
            used=frozenset(item.key for item in plan.items) if plan else None,
            state=lambda: workspace.run.session.state,
            changed=self._cache_changed,
            readonly=workspace.readonly,
        )
        workspace.app.push_screen(screen)

    def _clear(self, choice: ClearChoice | None) -> None:
        if choice is not None:
            self._workspace.background.run(lambda: self._clear_now(choice), self._finished)

    def _clear_now(self, choice: ClearChoice) -> str:
        from qairt.engine.cache.clearing import clear
        from qairt.engine.cache.sentences import cleared_line
        from qairt.engine.cache.store import Store

        store = Store(self._workspace.project.cache_dir)
        cleared = clear(store, choice.preview.entries, self._workspace.run.session.state)
        return cleared_line(cleared.bytes, len(cleared.entries))

    def _undo_now(self) -> str:
        from qairt.engine.cache.sentences import undone_line
        from qairt.engine.cache.store import Store

        return undone_line(Store(self._workspace.project.cache_dir))

    def _finished(self, message: str) -> None:
        self._workspace.app.notify(message, markup=False)
        self._cache_changed()
