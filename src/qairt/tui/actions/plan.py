"""Planning: the plan, why items run, and editing the recipe."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from qairt.project import PlanResult
from qairt.recipe.named_files import differences
from qairt.tui.actions.plain_terminal import PlainTerminalActions
from qairt.tui.actions.start import StartActions, state_of_plan
from qairt.tui.screens.plan import PlanChoice, PlanScreen
from qairt.tui.session import PlanSession
from qairt.tui.workspace import Workspace

if TYPE_CHECKING:
    from qairt.tui.screens.why import WhyScreen


_NAMED = 3
"""Changed settings that a notification names."""


class PlanActions:
    """Plans in the background and shows the result wherever a plan is shown.

    Args:
        start_when_planned: start the run as soon as the first plan is there.
    """

    def __init__(
        self,
        workspace: Workspace,
        start: StartActions,
        plain_terminal: PlainTerminalActions,
        *,
        start_when_planned: bool,
    ) -> None:
        self._workspace = workspace
        self._start = start
        self._plain_terminal = plain_terminal
        self._start_when_planned = start_when_planned
        self._why: WhyScreen | None = None
        """The last one opened."""

    # Planning

    def plan_at_start(self) -> None:
        """Plan, then show the plan, or start the run if that was requested; nothing while a run is shown."""
        self._plan(self._show_first)

    def plan_again(self) -> None:
        """Plan in the background because something changed."""
        self._plan(self._show)

    def plan_changed(self, changed: Sequence[Path]) -> None:
        """Plan again because files were changed from outside, and say what changed."""
        before = self._workspace.project.planned

        def show(planned: PlanResult) -> None:
            self._show(planned)
            self._workspace.app.notify(what_changed(before, planned, changed), markup=False, timeout=10)

        self._plan(show)

    def plan_then_start(self) -> None:
        """Plan again and start the run; finished items are reused."""
        self._start_when_planned = True
        self.plan_at_start()

    # Screens

    def open_plan(self) -> None:
        planned = self._workspace.project.planned
        if planned.plan is None and planned.error is None:
            self._workspace.app.notify("still planning")
            return
        self._open_plan(planned)
        self.plan_again()

    def open_why(self) -> None:
        """Show why the selected item runs."""
        item = self._workspace.monitor.selected
        if item is not None:
            self.open_why_of(item.stage, item.label)

    def open_why_of(self, stage: str, label: str) -> None:
        workspace, planned = self._workspace, self._workspace.project.planned
        item = workspace.find_planned(stage, label)
        if planned.plan is None or planned.pipeline is None or item is None:
            workspace.app.notify("the recipe cannot be planned: press p to see why", severity="warning")
        elif item.cached:
            workspace.app.notify(f"{item.name} is cached: the next run reuses it", markup=False)
        else:
            from qairt.tui.screens.why import WhyScreen

            self._why = WhyScreen(
                workspace.look, planned.plan, planned.pipeline.recipe, item, readonly=workspace.readonly
            )
            workspace.app.push_screen(self._why)

    def start_chosen(self, choice: PlanChoice) -> None:
        """Start the run as chosen on the plan screen, unless that plan is of older files."""
        changed = self._workspace.project.planned.changed_files()
        if changed:
            self._workspace.app.notify(
                "the recipe was changed: look at the new plan, then start it", severity="warning"
            )
            self.plan_changed(changed)
            return
        self._start.start(replace(self._workspace.project.options, until=choice.until, force=choice.force))

    def edit(self, file: str, line: int) -> None:
        """Open a file in the editor, then plan again.

        Args:
            file: empty for the recipe.
        """
        path = Path(file) if file else self._workspace.project.recipe
        if not self._workspace.is_refused() and self._plain_terminal.edit(path, line):
            self.plan_again()

    # Inside

    def _plan(self, then: Callable[[PlanResult], None]) -> None:
        self._workspace.background.run(self._workspace.project.plan, then)

    def _plan_with(self, choice: PlanChoice) -> PlanResult:
        project = self._workspace.project
        return project.plan(replace(project.options, until=choice.until, force=choice.force))

    def _show_first(self, planned: PlanResult) -> None:
        workspace = self._workspace
        self._show(planned)
        active = None if workspace.run.is_active else workspace.project.active_run()
        if active is not None:  # its cache directory was not known before the recipe was read
            workspace.attach(active)
        if workspace.run.is_active:
            return
        start, self._start_when_planned = self._start_when_planned, False
        if start and planned.plan is not None:
            self._start.start()
        elif start or workspace.run.session.kind == "plan":
            self._open_plan(planned)

    def _show(self, planned: PlanResult) -> None:
        """Show a new plan on every screen that shows one."""
        workspace = self._workspace
        workspace.show_recipe_values(planned)
        if planned.plan is not None and workspace.run.session.kind == "plan":
            workspace.show_session(PlanSession(state_of_plan(workspace.project)))
        for screen in workspace.app.screen_stack:
            if isinstance(screen, PlanScreen):
                screen.show(planned)
        why = self._why
        if why is not None and why.is_attached and planned.plan is not None and planned.pipeline is not None:
            why.show(planned.plan, planned.pipeline.recipe)
        workspace.forget_item()

    def _open_plan(self, planned: PlanResult) -> None:
        workspace = self._workspace
        if any(isinstance(screen, PlanScreen) for screen in workspace.app.screen_stack):
            return
        options = workspace.project.options
        choice = PlanChoice(options.until, frozenset(options.force))
        screen = PlanScreen(
            workspace.look,
            workspace.project.name,
            planned,
            self._plan_with,
            choice,
            jobs=options.jobs,
            memory=options.ram,
            readonly=workspace.readonly,
        )
        workspace.app.push_screen(screen)


def what_changed(before: PlanResult, now: PlanResult, files: Sequence[Path]) -> str:
    """`toy.yaml changed: stages.fan.suffix: ! → ?`, or the names of the files."""
    names = ", ".join(dict.fromkeys(file.name for file in files))
    if now.error is not None:
        return f"{names} changed: it cannot be planned"
    if before.pipeline is None or now.pipeline is None:
        return f"{names} changed: planned again"
    found = differences(before.pipeline.recipe, now.pipeline.recipe)
    more = f" and {len(found) - _NAMED} more" if len(found) > _NAMED else ""
    return f"{names} changed: {'; '.join(found[:_NAMED])}{more}" if found else f"{names} changed: planned again"
