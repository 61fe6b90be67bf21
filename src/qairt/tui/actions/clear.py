"""Clearing cached results, and bringing them back."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

from qairt.amounts import count, size
from qairt.errors import CacheError
from qairt.tui.shell import Shell

if TYPE_CHECKING:
    from qairt.engine.cache.clearing import ClearPreview, Scope
    from qairt.engine.cache.trash import Cleared
    from qairt.tui.screens.clear import ClearChoice


class Clearing(Shell):
    """Keys about what is kept."""

    def ask_clear(self) -> None:
        """Ask what of the selected item's stage is to be cleared."""
        item = self.monitor.selected
        if self.readonly:
            self.notify("this screen is for looking only (--readonly)", severity="warning")
        elif item is not None:
            from qairt.engine.cache.clearing import scope
            from qairt.engine.cache.store import Store
            from qairt.tui.screens.clear import ClearScreen

            stage, label, state = item.stage, item.label, self.session.state

            def preview(what: Scope, after: bool) -> ClearPreview:
                return scope(Store(self.project.cache_dir), state, stage, label, what, after=after)

            self.push_screen(ClearScreen(preview, self.look), self._clear)

    def ask_undo(self) -> None:
        """Bring back what was cleared last."""
        if self.readonly:
            self.notify("this screen is for looking only (--readonly)", severity="warning")
        else:
            self.work(self._undo, self._undone)

    def ask_cache(self) -> None:
        from qairt.engine.cache.store import Store
        from qairt.tui.screens.cache import CacheScreen

        plan = self.project.planned.plan
        used = frozenset(item.key for item in plan.items) if plan else None
        self.push_screen(
            CacheScreen(
                Store(self.project.cache_dir),
                self.look,
                used=used,
                state=lambda: self.session.state,
                changed=self.plan_again,
                readonly=self.readonly,
            )
        )

    def _clear(self, choice: ClearChoice | None) -> None:
        if choice is not None:
            self.work(partial(self._clear_now, choice), self._cleared)

    def _clear_now(self, choice: ClearChoice) -> Cleared:
        from qairt.engine.cache.clearing import clear
        from qairt.engine.cache.store import Store

        return clear(Store(self.project.cache_dir), choice.preview.entries, self.session.state)

    def _cleared(self, cleared: Cleared) -> None:
        entries = count(len(cleared.entries), "entry", "entries")
        self.notify(f"cleared {entries}, {size(cleared.bytes)} at the next prune; z brings them back", markup=False)
        self.plan_again()

    def _undo(self) -> Cleared:
        from qairt.engine.cache.store import Store

        undone = Store(self.project.cache_dir).undo()
        if undone is None:
            raise CacheError("nothing was cleared that could be brought back")
        return undone

    def _undone(self, undone: Cleared) -> None:
        kept = f"; {len(undone.superseded)} were made again meanwhile, and stay so" if undone.superseded else ""
        self.notify(f"brought back {count(len(undone.entries), 'entry', 'entries')}{kept}", markup=False)
        self.plan_again()
