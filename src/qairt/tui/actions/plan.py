"""Planning: the plan's screen, why items run, editing the recipe, and starting."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from qairt.engine.plan.announce import planned_entries
from qairt.engine.record.state import RunState
from qairt.engine.run.options import RunOptions
from qairt.project import Planned
from qairt.tui.screens.plan import PlanScreen
from qairt.tui.session import PlanSession
from qairt.tui.shell import Shell

if TYPE_CHECKING:
    from qairt.tui.screens.why import WhyScreen


class Planning(Shell):
    """Keys about what would run."""

    _why: WhyScreen | None = None
    """The one that was opened last."""

    def plan_at_start(self) -> None:
        self._plan(self._show_first)

    def plan_again(self) -> None:
        self._plan(self._take)

    def ask_plan(self) -> None:
        if self.project.planned.plan is None and self.project.planned.error is None:
            self.notify("planning: reading what the recipe names")
            return
        self._open_plan(self.project.planned)
        self.plan_again()

    def ask_why(self) -> None:
        item = self.monitor.selected
        if item is not None:
            self._open_why(item.stage, item.label)

    # Messages of the screens

    def on_plan_screen_run(self, event: PlanScreen.Run) -> None:
        self.start_run(replace(self.project.options, until=event.until, force=event.force))

    def on_plan_screen_open_why(self, event: PlanScreen.OpenWhy) -> None:
        self._open_why(event.stage, event.label)

    def on_plan_screen_edit_recipe(self, event: PlanScreen.EditRecipe) -> None:
        self._edit(Path(event.file) if event.file else self.project.recipe, event.line)

    def on_why_screen_edit_recipe(self, event: WhyScreen.EditRecipe) -> None:
        self._edit(self.project.recipe, event.line)

    def on_why_screen_recipe_changed(self) -> None:
        self.plan_again()

    # Inside

    def _plan(self, then: Callable[[Planned], None]) -> None:
        self.work(self.project.plan, then)

    def _plan_with(self, until: str | None, force: frozenset[str]) -> Planned:
        return self.project.plan(replace(self.project.options, until=until, force=force))

    def _show_first(self, planned: Planned) -> None:
        """The first plan of this screen: shown, unless a run is."""
        self._take(planned)
        going = None if self.going else self.project.live()
        if going is not None:  # its cache directory was not known before the recipe was read
            self.attach(going)
        if self.going:
            return
        start, self.start_at_once = self.start_at_once, False
        if start and planned.plan is not None:
            self.start_run()
        elif start or self.session.kind == "plan":
            self._open_plan(planned)

    def _take(self, planned: Planned) -> None:
        """Show what a new plan says, wherever it is shown."""
        self.show_recipe(planned)
        if planned.plan is not None and self.session.kind == "plan":
            entries = planned_entries(planned.plan)
            state = RunState.of_plan(
                entries,
                recipe=str(self.project.recipe),
                cache_dir=str(self.project.cache_dir),
                jobs=self.project.options.jobs,
                memory=self.project.options.memory,
            )
            self.adopt(PlanSession(state))
        for screen in self.screen_stack:
            if isinstance(screen, PlanScreen):
                screen.show(planned)
        if (
            self._why is not None
            and self._why.is_attached
            and planned.plan is not None
            and planned.pipeline is not None
        ):
            self._why.show(planned.plan, planned.pipeline.recipe)
        if self._monitor is not None:
            self._monitor.forget_item()

    def show_recipe(self, planned: Planned) -> None:
        """Show the recipe's values, once there is a place for them."""
        if planned.pipeline is not None and self._monitor is not None:
            from qairt.engine.settings_in_force import recipe_values

            self.work(partial(recipe_values, planned.pipeline), self._monitor.show_recipe)

    def _open_plan(self, planned: Planned) -> None:
        if any(isinstance(screen, PlanScreen) for screen in self.screen_stack):
            return
        options: RunOptions = self.project.options
        screen = PlanScreen(
            self.look,
            self.project.name,
            planned,
            self._plan_with,
            memory=options.memory,
            jobs=options.jobs,
            until=options.until,
            force=options.force,
        )
        self.push_screen(screen)

    def _open_why(self, stage: str, label: str) -> None:
        planned = self.project.planned
        item = (
            next((each for each in planned.plan.items if each.name == f"{stage} {label}"), None)
            if planned.plan
            else None
        )
        if planned.plan is None or planned.pipeline is None or item is None:
            self.notify("the recipe cannot be planned: p shows why", severity="warning")
        elif item.cached:
            self.notify(f"{item.name} is cached: the next run reuses it", markup=False)
        else:
            from qairt.tui.screens.why import WhyScreen

            self._why = WhyScreen(self.look, planned.plan, planned.pipeline.recipe, item, readonly=self.readonly)
            self.push_screen(self._why)

    def _edit(self, path: Path, line: int) -> None:
        if self.readonly:
            self.notify("this screen is for looking only (--readonly)", severity="warning")
        elif self.edit_file(path, line):
            self.plan_again()
